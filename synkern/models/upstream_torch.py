"""What synkern reads of torch beyond what it promises.

As in `synkern.models.upstream`, each has a test of its own, in tests/models/test_upstream_torch.py.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

# Packages whose hooks make a model run, rather than watch it.
_RUNNING = ("torch.distributed", "torch.nn", "transformers", "accelerate", "deepspeed", "peft")


def weight_versions(module: nn.Module) -> list[int]:
    """How often each weight of a module was changed in place, as far as torch counts it."""
    return [0 if p.is_inference() else p._version for p in module.parameters()]


def is_compiled(model: nn.Module) -> bool:
    """Whether `torch.compile` is at work on `model` or on a module inside it."""
    return any(
        hasattr(module, "_orig_mod")  # torch.compile(module)
        or getattr(module, "_compiled_call_impl", None) is not None  # module.compile()
        or hasattr(module.__dict__.get("forward"), "_torchdynamo_orig_callable")
        or "_compiled_call" in module.__dict__  # generate() with a static cache
        for module in model.modules()
    )


def outside_graphs(hook: Callable[..., Any]) -> Callable[..., Any]:
    """A hook as it is to be registered: compiled models run it outside their graphs.

    So compiling can neither leave it out nor hand it a buffer that the next step overwrites.
    """
    disabled: Callable[..., Any] = torch.compiler.disable(hook)
    return disabled


def forget_compiled(model: nn.Module) -> None:
    """Have compiled code of `model` compiled anew.

    Code from before does not notice hooks that were put there since; code from while they were
    there stays split around them.
    """
    if is_compiled(model):
        torch.compiler.reset()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that host memory is not enough: torch has no kind of its own."""
    return isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error)


def forward_hooks(modules: Iterable[nn.Module]) -> list[dict[int, Any]]:
    """The places where torch keeps hooks that run with these modules: their own, those of all."""
    everywhere = importlib.import_module("torch.nn.modules.module")
    kept = [everywhere._global_forward_pre_hooks, everywhere._global_forward_hooks]
    for module in modules:
        kept += [module._forward_pre_hooks, module._forward_hooks]
    return kept


def runs_the_model(hook: Any) -> bool:
    """Whether a hook belongs to the machinery that makes a model run, as on several devices."""
    while hasattr(hook, "func"):  # functools.partial
        hook = hook.func
    hook = getattr(hook, "__func__", hook)
    origin = str(getattr(hook, "__module__", None) or type(hook).__module__)
    return any(origin == name or origin.startswith(f"{name}.") for name in _RUNNING)
