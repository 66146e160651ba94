"""What cells of tables hold: numbers, or a word that there is none."""

from __future__ import annotations

import re

MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "-nan", "NULL", "null", "None", "<NA>", "#N/A")
"""Cells that say that there is no value."""

NUMBER = re.compile(r"[-+]?(\d+([.,]\d*)?|[.,]\d+)([eEdD][-+]?\d+)?|[-+]?(inf|infinity)", re.I)
