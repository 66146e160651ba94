"""The experiment `ablation`."""
