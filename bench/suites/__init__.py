"""The suites of `python -m bench` and `make bench`."""
