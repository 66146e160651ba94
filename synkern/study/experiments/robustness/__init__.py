"""The experiment `robustness`."""
