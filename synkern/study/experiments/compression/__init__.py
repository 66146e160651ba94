"""The experiment `compression`."""
