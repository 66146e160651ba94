"""A whole study of one language model by one call: prompts in, a report on synergy over depth."""

from typing import TYPE_CHECKING

from synkern._faces import face

if TYPE_CHECKING:
    from synkern.study.errors import ArgumentError, MissingPackageError, StudyError
    from synkern.study.options import add_arguments
    from synkern.study.run import Study, run_study
    from synkern.study.settings import StudyOptions

__all__ = [
    "ArgumentError",
    "MissingPackageError",
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
            "MissingPackageError": "errors",
            "Study": "run",
            "StudyError": "errors",
            "StudyOptions": "settings",
            "add_arguments": "options",
            "run_study": "run",
        },
    )
