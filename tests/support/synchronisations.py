"""What makes a host wait for a device, counted on tensors of the host: where a GPU would stop."""

import os
import traceback
from pathlib import Path

from support.optional import torch

_ROOT = Path(__file__).parents[2]
_OURS = tuple(f"{_ROOT / folder}{os.sep}" for folder in ("synkern", "kernels"))
_READS = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "equal")


class Waits(torch.utils._python_dispatch.TorchDispatchMode):
    """Counts them while it is entered, each by the line of synkern that waits.

    Numbers that are read (`bool`, `int`, `item`), indices that a mask is turned into, and tensors
    that are copied to the host, as `cpu` copies none here.

    Attributes:
        lines: (function, line of source) of each.
    """

    def __init__(self):
        super().__init__()
        self.lines = []
        self._copies = _Copies(self)

    def __enter__(self):
        self._copies.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        return self._copies.__exit__(*error)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        masks = name in ("index", "index_put", "index_put_") and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if masks or name in _READS:
            self.note(name)
        return func(*args, **(kwargs or {}))

    def note(self, name):
        """Take down who waits."""
        own = [f for f in traceback.extract_stack() if f.filename.startswith(_OURS)]
        self.lines.append((name, f"{own[-1].name}: {own[-1].line}" if own else "?"))


class _Copies(torch.overrides.TorchFunctionMode):
    def __init__(self, waits):
        super().__init__()
        self._waits = waits

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in (torch.Tensor.cpu, torch.Tensor.tolist) and args[0].numel():
            self._waits.note(func.__name__)
        return func(*args, **(kwargs or {}))
