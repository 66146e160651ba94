"""What the conditions of a training experiment are called. Light: the command lists them."""

ORDERED = ("synergy", "redundancy", "random", "layer_matched")
"""The conditions that take as many nodes each: the first ones of the order of this name."""

CONDITIONS = (*ORDERED, "all", "none")
"""The names of all conditions."""
