"""Nodes of several columns: Gaussian ΦID of sets of variables, from blocks of their covariance."""
