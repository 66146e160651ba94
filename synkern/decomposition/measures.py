"""Derived measures: what is known under a name of its own and is a sum of the 16 atoms.

A mutual information of a past and a future is the sum of the atoms at or below its point in the
product lattice, I(xy; b) = rtr + rty + xtr + xty + ytr + yty + str + sty for instance, so measures
built from such informations are sums of atoms with whole coefficients, whatever the redundancy
function. The taxonomy (storage, copy, transfer, erasure, causation) groups the atoms themselves.

Sources, as named in `MEASURES`:
    [M21] Mediano, Rosas, Luppi et al., arXiv:2109.13186 (PNAS 2025): the taxonomy; transfer
          entropy, causal density and integrated information as sums of atoms; the revision of
          the latter.
    [R20] Rosas, Mediano et al., PLoS Comput. Biol. 16, e1008289 (2020): downward causation and
          causal decoupling.
    [S00] Schreiber, Phys. Rev. Lett. 85, 461 (2000): transfer entropy.
    [S11] Seth, Barrett and Barnett, Phil. Trans. R. Soc. A 369, 3748 (2011): causal density.
    [B11] Barrett and Seth, PLoS Comput. Biol. 7, e1001052 (2011): integrated information.
    [G]   goofi-pipe, its node `PhiID`: another reading of "copy".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import synkern._checks as check
from synkern.kernels import ATOMS


@dataclass(frozen=True)
class Measure:
    """A sum of atoms with a name.

    Attributes:
        atoms: coefficient by atom; atoms that are absent do not count.
        source: where the sum is defined, as listed in the module's text.
        meaning: one line, in the unit of the atoms.
    """

    atoms: Mapping[str, int]
    source: str
    meaning: str


def _sum(names: str) -> dict[str, int]:
    """Coefficients of a sum of atoms: one for every time that an atom is named."""
    return {name: names.split().count(name) for name in names.split()}


MEASURES: dict[str, Measure] = {
    "time_delayed_mutual_information": Measure(
        dict.fromkeys(ATOMS, 1), "[M21]", "I(xy; ab): all that the past says about the future"
    ),
    "transfer_entropy_xy": Measure(
        _sum("xtr xty str sty"), "[S00], [M21]", "I(x; b | y): what x adds to y's own prediction"
    ),
    "transfer_entropy_yx": Measure(
        _sum("ytr ytx str stx"), "[S00], [M21]", "I(y; a | x): what y adds to x's own prediction"
    ),
    "causal_density": Measure(
        _sum("xtr xty ytr ytx str str stx sty"),
        "[S11], [M21]",
        "sum (not mean) of the two transfer entropies, which both contain str",
    ),
    "integrated_information_wms": Measure(
        {**_sum("rts xty xts ytx yts str stx sty sts"), "rtr": -1},
        "[B11], [M21]",
        "I(xy; ab) - I(x; a) - I(y; b), whole minus sum; negative where redundancy prevails",
    ),
    "integrated_information_revised": Measure(
        _sum("rts xty xts ytx yts str stx sty sts"),
        "[M21]",
        "whole minus sum, plus the redundancy rtr that it subtracts once too often",
    ),
    "storage": Measure(
        _sum("rtr xtx yty sts"), "[M21]", "information that stays in the form it has"
    ),
    "copy": Measure(
        _sum("xtr ytr"), "[M21]", "unique information that becomes redundant: copied to the other"
    ),
    "copy_goofi": Measure(
        _sum("xtx yty"), "[G]", "unique information that stays where it is: not the copy of [M21]"
    ),
    "transfer": Measure(
        _sum("xty ytx"), "[M21]", "unique information that moves from one node to the other"
    ),
    "erasure": Measure(
        _sum("rtx rty"), "[M21]", "redundant information that one of the nodes loses"
    ),
    "upward_causation": Measure(
        _sum("rts xts yts"), "[M21]", "information of single nodes that becomes synergistic"
    ),
    "downward_causation": Measure(
        _sum("str stx sty"), "[R20], [M21]", "synergy that becomes information of single nodes"
    ),
    "causal_decoupling": Measure(_sum("sts"), "[R20], [M21]", "synergy that stays synergy"),
}
"""Every derived measure by name. x is the first node of a pair (row), y the second (column)."""


def atoms_of(*names: str) -> tuple[str, ...]:
    """Names of the atoms that derived measures are made of, for `phiid(..., atoms=...)`.

    Args:
        names: of `MEASURES`.

    Returns:
        Each atom once, in the order of `ATOMS`.

    Raises:
        ValueError: unknown name, or none.
    """
    if not names:
        raise ValueError(f"atoms_of needs at least one name of {', '.join(MEASURES)}")
    for name in names:
        check.choice("name", name, tuple(MEASURES))
    return tuple(atom for atom in ATOMS if any(atom in MEASURES[name].atoms for name in names))
