"""Checkpoints of one training: a study of each, and one page about what came about when."""
