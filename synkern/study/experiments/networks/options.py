"""What a user decides about networks. Light, as `synkern.study.options` is."""

from __future__ import annotations

from dataclasses import dataclass, field

from synkern.analysis.options import NULL_GRAPH_NAMES
from synkern.study.experiments.options import RecordedOptions
from synkern.study.options import Option

MANY_NODES = 500
"""Above so many, less is drawn by default: a shortest path costs nodes cubed."""

FEWEST_DRAWS = 20
"""Of prompts, below which there is no interval."""


DRAWN = 0.1
"""Share of the pairs that is drawn by default, as published."""


@dataclass(frozen=True, kw_only=True)
class NetworksOptions(RecordedOptions):
    """What a user may decide about networks, as given."""

    runs: int = field(
        default=100,
        metadata=Option(help="runs of Louvain on either graph", least=2).described,
    )
    nulls: tuple[str, ...] = field(
        default=NULL_GRAPH_NAMES,
        metadata=Option(
            help="null graphs that either graph is put beside",
            more="See `synkern.analysis.graph.null_graphs`.",
            choices=NULL_GRAPH_NAMES,
            metavar="NULL",
        ).described,
    )
    draws: int | None = field(
        default=None,
        metadata=Option(
            help=f"null graphs of each kind (default: 100 up to {MANY_NODES} nodes, 20 beyond)",
            least=2,
        ).described,
    )
    densities: tuple[float, ...] | None = field(
        default=None,
        metadata=Option(
            help="shares of the pairs, strongest first, at which to measure, beside all of them "
            "(default: 0.05 0.1 0.15 0.2 0.3, less those with fewer edges than join all nodes)",
            least=0,
            most=1,
        ).described,
    )
    bootstrap: int | None = field(
        default=None,
        metadata=Option(
            help=f"draws of prompts for intervals, 0 or at least {FEWEST_DRAWS} (default: 200 up "
            f"to {MANY_NODES} nodes, none beyond)",
            more="Both graphs and a null of each kind are measured in each.",
            least=0,
        ).described,
    )
    drawn: float | None = field(
        default=None,
        metadata=Option(
            help=f"share of the pairs that is drawn, strongest first (default: {DRAWN}; of few "
            "nodes, as many as join all)",
            least=0,
            most=1,
        ).described,
    )
    workers: int = field(
        default=1,
        metadata=Option(
            help="processes that share the work",
            more="The results are the same for any number. Above 1, a script has to start its own "
            'work under `if __name__ == "__main__":`.',
            least=1,
            stated=False,
        ).described,
    )


@dataclass(frozen=True, kw_only=True)
class Decided(NetworksOptions):
    """The same as they will be used: nothing is left to the study."""

    draws: int
    densities: tuple[float, ...]
    dropped: tuple[float, ...]
    bootstrap: int
    drawn: float
