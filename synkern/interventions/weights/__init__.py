"""Weights of nodes, changed for a while and put back bit for bit."""
