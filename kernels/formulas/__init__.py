"""The mathematics of a pair, for whole arrays of any library: no backend, no tiles."""
