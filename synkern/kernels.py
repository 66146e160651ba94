"""The per-pair arithmetic, one file or folder per backend: the folder `kernels/` of the repository.

The folder lies beside `synkern/` in a checkout and inside it in a wheel. It has no `__init__.py`,
because a top-level package of that name would hide Hugging Face's `kernels` from whoever runs
Python in the repository root; this module gives it the import path `synkern.kernels` instead.
"""

from pathlib import Path

_HERE = Path(__file__).resolve().parent
__path__ = [str(p) for p in (_HERE / "kernels", _HERE.parent / "kernels") if p.is_dir()][:1]
