"""The experiment `networks`."""
