"""The page to explore beside a report: its contract, and how it is written."""

from typing import TYPE_CHECKING

from synkern._faces import face

if TYPE_CHECKING:
    from synkern.study.explorer.explored import (
        Chart,
        Explored,
        Line,
        NodeValues,
        PairValues,
        View,
    )
    from synkern.study.explorer.of_study import explored_study
    from synkern.study.explorer.page import FILE, explorer_page

__all__ = [
    "FILE",
    "Chart",
    "Explored",
    "Line",
    "NodeValues",
    "PairValues",
    "View",
    "explored_study",
    "explorer_page",
]

# Not at once: the page needs bokeh and jinja2, which are extras.
if not TYPE_CHECKING:
    __getattr__, __dir__ = face(
        __name__,
        {
            "FILE": "page",
            "Chart": "explored",
            "Explored": "explored",
            "Line": "explored",
            "NodeValues": "explored",
            "PairValues": "explored",
            "View": "explored",
            "explored_study": "of_study",
            "explorer_page": "page",
        },
    )
