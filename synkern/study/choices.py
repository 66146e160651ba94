"""What the arguments of a study may be: words alone, so that the command can list them at once."""

NONE = "none"
"""The choice of `detrend` and of `null` that does nothing."""

CHOICES = {
    "kind": ("gaussian", "discrete"),
    "redundancy": ("MMI", "CCS"),
    "average": ("trials", "moments", "concatenate"),
    "detrend": (NONE, "linear", "quadratic", "difference", "copula", "zscore"),
    "null": (NONE, "cross_trial", "row_shift", "circular", "block", "phase"),
    "dtype": ("float32", "float64", "bfloat16", "float16"),
}
"""What each of these arguments may be, its default first. Here and not of argparse, so that a call
from Python is checked alike."""
