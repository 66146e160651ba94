"""The libraries that hold the graph algorithms, imported when first used.

Which, and why: shortest paths are scipy's (BSD) and communities scikit-network's (BSD, wheels for
Linux, macOS and Windows), which take a matrix as it is. On 1,664 nodes with all 1.4 million edges a
run of Louvain takes 0.3 s there and 0.5 s in python-igraph, after 1.1 s to make the graph; what
they find is the same. networkx takes minutes for it, and its global efficiency knows no weights.
python-igraph and leidenalg are GPL, bctpy too: a package under BSD should not need them.
"""

from __future__ import annotations

import importlib
from typing import Any

from synkern._faces import MissingExtraError


def library(name: str, who: str, extra: str = "networks") -> Any:
    """Import a module of scipy, scikit-network or matplotlib.

    Args:
        name: dotted name of the module.
        who: what needs it.
        extra: of synkern's extras, the one that brings it, unless it is matplotlib.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        top = name.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != top:
            raise
        package = {"sknetwork": "scikit-network"}.get(top, top)
        extra = "plot" if top == "matplotlib" else extra
        raise MissingExtraError(
            f"{who} needs {package}, which is not installed: pip install 'synkern[{extra}]'",
            name=top,
        ) from error
