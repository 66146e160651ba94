"""Weights of nodes kept at different numbers of bits."""
