"""Synergy and redundancy as weighted graphs: efficiency, communities, and what nulls make of them.

`weights` says what an edge is, `measures` and `communities` measure, `null_graphs` draws nulls,
`topology` puts these together for one set of matrices and `intervals` for draws of trials, and
`drawing` draws.
"""
