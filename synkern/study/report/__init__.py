"""The report of a study: its page, its figures, and its findings in words."""

from typing import TYPE_CHECKING

from synkern._faces import face

if TYPE_CHECKING:
    from synkern.study.report.figures import (
        excess_matrices,
        layer_profile_curves,
        null_curves,
        pair_matrices,
        synergy_curves,
    )
    from synkern.study.report.findings import findings_of
    from synkern.study.report.maps import routing_maps, score_maps
    from synkern.study.report.page import write_report
    from synkern.study.report.summary import summary_of
    from synkern.study.report.words import called, of_weights, spelled, verdict

__all__ = [
    "called",
    "excess_matrices",
    "findings_of",
    "layer_profile_curves",
    "null_curves",
    "of_weights",
    "pair_matrices",
    "routing_maps",
    "score_maps",
    "spelled",
    "summary_of",
    "synergy_curves",
    "verdict",
    "write_report",
]

# Not at once: figures need matplotlib and the page jinja2, which are extras.
if not TYPE_CHECKING:
    __getattr__, __dir__ = face(
        __name__,
        {
            "called": "words",
            "excess_matrices": "figures",
            "findings_of": "findings",
            "layer_profile_curves": "figures",
            "null_curves": "figures",
            "of_weights": "words",
            "pair_matrices": "figures",
            "routing_maps": "maps",
            "score_maps": "maps",
            "spelled": "words",
            "summary_of": "summary",
            "synergy_curves": "figures",
            "verdict": "words",
            "write_report": "page",
        },
    )
