"""What importing the recorder needs, and brings in."""

import subprocess
import sys


def test_importing_needs_no_transformers():
    code = (
        "import sys; sys.modules['transformers'] = None\n"
        "import synkern.recording.recorder, synkern.models.heads, synkern.models.language_model\n"
        "try: synkern.models.language_model.load('gpt2')\n"
        "except ImportError as e: assert 'pip install \"synkern[llm]\"' in str(e); print('named')\n"
        "import torch\n"
        "try: synkern.recording.recorder.record(torch.nn.Linear(2, 2)).__enter__()\n"
        "except ImportError as e: assert 'synkern[llm]' in str(e); print('named')\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["named", "named"]


def test_importing_brings_in_no_decomposition():
    """Nor what stands on it, nor triton, which takes a second to import."""
    code = (
        "import sys\n"
        "import synkern.recording.answers, synkern.recording.replayer\n"
        "others = ('synkern.decomposition', 'synkern.analysis', 'synkern.study', 'triton')\n"
        "print([name for name in sys.modules if name.startswith(others)])\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
