"""The figure of the 16 atoms, drawn from the order relation of the product lattice.

`.. lattice::` puts an SVG into the page, whose colours are those of the theme, light or dark. Lines
are the order's cover relation: no third atom lies between the two.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

WIDTH, STEP, TOP, RADIUS = 760, 118, 52, 27
NOTES = {
    "sts": "synergy, kept",
    "rtr": "redundancy, kept",
    "xtx": "x stores",
    "yty": "y stores",
    "xty": "x passes on to y",
    "ytx": "y passes on to x",
    "str": "synergy, copied",
    "rts": "redundancy, joined",
}
ENDS = ("sts", "rtr")


def covers(order: np.ndarray) -> np.ndarray:
    """Which points lie directly below which.

    Args:
        order: (points, points) of zeros and ones, 1 where the column is at or below the row.

    Returns:
        The same shape, bool: the row covers the column.
    """
    below = (order - np.eye(len(order), dtype=order.dtype)).astype(bool)
    between = (below.astype(int) @ below.astype(int)) > 0
    return below & ~between


def places(names: tuple[str, ...]) -> dict[str, tuple[float, float]]:
    """Where each atom is drawn: the height of its source and that of its target, together."""
    height = {"r": 0, "x": 1, "y": 1, "s": 2}
    rows: dict[int, list[str]] = {}
    for name in names:
        rows.setdefault(height[name[0]] + height[name[2]], []).append(name)
    order = {0: ["rtr"], 4: ["sts"]}
    order[1] = ["xtr", "rtx", "rty", "ytr"]
    order[2] = ["str", "xtx", "xty", "ytx", "yty", "rts"]
    order[3] = ["stx", "xts", "yts", "sty"]
    found = {}
    for level, row in rows.items():
        assert sorted(row) == sorted(order[level])
        gap = WIDTH / (len(row) if len(row) > 4 else 5)
        for k, name in enumerate(order[level]):
            x = WIDTH / 2 + (k - (len(row) - 1) / 2) * gap
            found[name] = (x, TOP + (4 - level) * STEP)
    return found


def drawn() -> str:
    """The figure as SVG, for a page whose style sheet has the classes."""
    from synkern.kernels import ATOMS, long_name, zeta_matrix  # noqa: PLC0415

    at = places(ATOMS)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {TOP * 2 + 4 * STEP + 8}" role="img" '
        'aria-label="The sixteen atoms as a lattice, from redundancy to redundancy at the bottom '
        'to synergy to synergy at the top">'
    ]
    upper, lower = np.nonzero(covers(zeta_matrix()))
    for high, low in zip(upper, lower, strict=True):
        (x1, y1), (x2, y2) = at[ATOMS[high]], at[ATOMS[low]]
        parts.append(f'<line class="edge" x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}"/>')
    for name in ATOMS:
        x, y = at[name]
        ends = " ends" if name in ENDS else ""
        parts.append(
            f"<g><title>{name}: {long_name(name)}</title>"
            f'<circle class="node{ends}" cx="{x:g}" cy="{y:g}" r="{RADIUS}"/>'
            f'<text class="name{ends}" x="{x:g}" y="{y + 5:g}">{name}</text>'
        )
        if name in NOTES:
            parts.append(
                f'<text class="words" x="{x:g}" y="{y + RADIUS + 15:g}">{NOTES[name]}</text>'
            )
        parts.append("</g>")
    return "".join([*parts, "</svg>"])


class Lattice(SphinxDirective):
    """Puts the figure into the page."""

    def run(self) -> list[nodes.Node]:
        """Draw it."""
        return [nodes.raw("", f'<div class="lattice">{drawn()}</div>', format="html")]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register what this module has."""
    app.add_directive("lattice", Lattice)
    return {"version": "1", "parallel_read_safe": True}
