"""What nodes do, changed while a model runs."""
