"""A whole study of one language model by one call: prompts in, a report on synergy over depth."""

from typing import TYPE_CHECKING

from synkern._faces import face

if TYPE_CHECKING:
    from synkern.study.errors import ArgumentError, MissingPackageError, StudyError
    from synkern.study.experiments.carrying import Outcome
    from synkern.study.experiments.commands import COMMANDS
    from synkern.study.options import add_arguments
    from synkern.study.run import Study, run_study
    from synkern.study.settings import StudyOptions

__all__ = [
    "COMMANDS",
    "ArgumentError",
    "MissingPackageError",
    "Outcome",
    "Study",
    "StudyError",
    "StudyOptions",
    "add_arguments",
    "run_study",
]

# Not at once: the command lists what the arguments may be before it loads what computes.
if not TYPE_CHECKING:
    __getattr__, __dir__ = face(
        __name__,
        {
            "ArgumentError": "errors",
            "COMMANDS": "experiments.commands",
            "MissingPackageError": "errors",
            "Outcome": "experiments.carrying",
            "Study": "run",
            "StudyError": "errors",
            "StudyOptions": "settings",
            "add_arguments": "options",
            "run_study": "run",
        },
    )
