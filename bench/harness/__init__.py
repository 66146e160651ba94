"""How it is measured: rounds in turns, checks, records, comparisons, more digits."""
