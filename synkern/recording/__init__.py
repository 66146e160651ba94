"""The series of a model's nodes, while it writes (`record`) or from finished text (`replay`)."""

from typing import TYPE_CHECKING

from synkern._faces import face

if TYPE_CHECKING:
    from synkern.recording.answers import Answers, PromptError, read_answers, record_answers
    from synkern.recording.recorder import record
    from synkern.recording.recording import Recording, RecordingError
    from synkern.recording.replayer import replay
    from synkern.recording.responses import Responses, responses_of

__all__ = [
    "Answers",
    "PromptError",
    "Recording",
    "RecordingError",
    "Responses",
    "read_answers",
    "record",
    "record_answers",
    "replay",
    "responses_of",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = face(
        __name__,
        {
            "Answers": "answers",
            "PromptError": "answers",
            "Recording": "recording",
            "RecordingError": "recording",
            "Responses": "responses",
            "read_answers": "answers",
            "record": "recorder",
            "record_answers": "answers",
            "replay": "replayer",
            "responses_of": "responses",
        },
    )
