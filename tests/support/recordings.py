"""Recording what a tiny model generates."""

from support.tiny_models import generate
from synkern import record

STEPS = 12


def recorded(model, ids, steps=STEPS, **options):
    """The recording of `steps` tokens after these prompts, and the sequences."""
    with record(model) as recording:
        sequences = generate(model, ids, steps, **options)
    return recording, sequences
