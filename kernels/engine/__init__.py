"""What backends share: tiles, all pairs, chosen pairs, sums by node, marked pairs, the gradient.

`decompose` takes a request from features to its answer, with the arrays of `libraries`.
"""
