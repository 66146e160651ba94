"""The experiment `perturbation`."""
