"""The series of a model's nodes, while it writes (`record`) or from finished text (`replay`)."""

from typing import TYPE_CHECKING

from synkern._faces import face

if TYPE_CHECKING:
    from synkern.recording.answers import Answers, PromptError, record_answers
    from synkern.recording.decoding import RecordingError
    from synkern.recording.recorder import record
    from synkern.recording.recording import Node, Recording
    from synkern.recording.replayer import replay

__all__ = [
    "Answers",
    "Node",
    "PromptError",
    "Recording",
    "RecordingError",
    "record",
    "record_answers",
    "replay",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = face(
        __name__,
        {
            "Answers": "answers",
            "Node": "recording",
            "PromptError": "answers",
            "Recording": "recording",
            "RecordingError": "decoding",
            "record": "recorder",
            "record_answers": "answers",
            "replay": "replayer",
        },
    )
