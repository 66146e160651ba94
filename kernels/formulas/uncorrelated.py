"""Local informations of Gaussian variables that are zero, and so have no sign.

CCS keeps a common change in surprisal where all local informations in it have one sign. One that is
exactly zero has none: a sign taken from its rounding error would keep or drop a whole change by
chance, and every library rounds otherwise. It happens on whole numbers, counts, bits and spikes.

Which are zero can be told from the correlations. The series are floating-point numbers, that is
fractions, and so are the squared distances in a local information

    i(u; v) = -1/2 log Λ + (n - 1)/2 [d(v) - d(v | u)],

and Λ. The logarithm of a fraction other than 1 is no fraction (Lindemann): i is zero at a sample
only if Λ = 1, that is where every correlation between u and v is zero; and then it is zero at every
sample, as d(v | u) = d(v). So one decision for a pair settles all of its samples, it costs nothing
at a sample, and it needs no tolerance for informations that differ by orders of magnitude.

What is left is when a correlation is zero but for rounding: `resolution`. Of continuous series a
pair has one below it with a probability of about 5e-11 sqrt(n).

Where the series themselves were rounded more coarsely (states standardised in float32, or kept on
an offset of millions of deviations), such a correlation is no longer zero, but 1e-9 for instance,
and has a sign that every library finds. Not so the local information at samples at which a variable
is as near to its mean: 1e-18, far below the rounding of the terms that it is the sum of, which are
about 1. So neither has a local information within `local_resolution` a sign. Continuous series have
one such in about 1e-12 of their samples.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .mmi import Correlations, Lambdas

DEVIATIONS = 1 << 16
"""Largest distance from zero, in standard deviations, whose rounding `resolution` allows for."""


def resolution(samples: int) -> float:
    """Magnitude up to which a correlation across time is zero.

    With u = eps / 2, each bounded by Cauchy and Schwarz for unit vectors of n samples:

    - their inner product is off by n u, in whatever order it is summed;
    - their entries are off by 4 u each (centred twice, divided by peak and by norm): 8 u;
    - so are the series themselves, by u times their distance from zero in standard deviations:
      0.1 + 0.001 k is no whole number of thousandths. Up to `DEVIATIONS` for either.

    Together (n + 8 + 2 DEVIATIONS) u; (2 n + 2 DEVIATIONS) u is returned. Measured where whole
    numbers k have a correlation of zero, with 7 to 1,000 samples: 4e-16; kept as 300 + 0.01 k,
    18,000 deviations from zero: 2e-12.

    `native/phiid_ccs.h` has the same number, under the same name.
    """
    return float((samples + DEVIATIONS) * np.finfo(np.float64).eps)


def local_resolution(samples: int) -> float:
    """Magnitude up to which a local information is zero at one sample.

    It is the sum of a mean and two to four squares with the weight (n - 1)/2. Those of unit vectors
    of n samples are at most n/2, at the one sample of a spike, and some tens at a sample eight
    deviations from the mean: each is off by some units in the last place of that.

    `native/phiid_ccs.h` has the same number, under the same name.
    """
    return float((samples + 64) * np.finfo(np.float64).eps)


def correlated(xp: Any, c: Correlations, samples: int) -> Lambdas:
    """Masks that broadcast, one for each information: it is not zero at every sample.

    Args:
        xp: numpy, torch or cupy.
        c: correlations in float64.
        samples: what they are taken over.
    """
    zero = resolution(samples)
    x_a, x_b, y_a, y_b = (xp.abs(r) > zero for r in (c.xa, c.xb, c.ya, c.yb))
    xy_a, xy_b, x_ab, y_ab = x_a | y_a, x_b | y_b, x_a | x_b, y_a | y_b
    return Lambdas(x_a, x_b, y_a, y_b, xy_a, xy_b, x_ab, y_ab, xy_a | xy_b)
