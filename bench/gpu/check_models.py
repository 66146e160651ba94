"""The stage `models` of `bench.gpu.check`: a tiny language model on the device and on the CPU.

The weights are random and made here. Each case is computed in float64 and float32 on the device and
held to float64 on the CPU. How far float32 on the CPU is off that says how much the model magnifies
a rounding: `SLACK` times as much is allowed, in float64 less by the ratio of the two roundings,
and as many roundings of the result. Whole numbers have to be the same. Needs transformers.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import synkern
from bench.gpu import truth
from bench.gpu.journal import NotRunError
from bench.gpu.stage import Items
from bench.gpu.truth import DEVICE, GPU
from synkern.interventions import TeacherForced
from synkern.kernels import BACKENDS
from synkern.recording import Responses

SLACK = 8
"""For sums in another order than the CPU's."""

VOCABULARY, LAYERS, HEADS = 96, 3, 4
NODES = ["L0H1", "L2H3"]

Arrays = dict[str, np.ndarray]


def tiny_model(dtype: torch.dtype) -> Any:
    """A random GPT-2 on the CPU: models with rotary positions compute those in float32 always."""
    import transformers  # noqa: PLC0415

    sizes = {"n_embd": 16 * HEADS, "n_layer": LAYERS, "n_head": HEADS, "n_positions": 128}
    ends = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": None}
    config = transformers.GPT2Config(vocab_size=VOCABULARY, **sizes, **ends)
    model = transformers.GPT2LMHeadModel(config).to(torch.float64).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim == 2:  # large enough for the heads to differ
                weights.normal_(0, 0.2, generator=generator)
    # Drawn once, and rounded: both dtypes have the same weights, and differ in arithmetic alone.
    return model.to(torch.float32).to(dtype)


def recorded(model: Any) -> Arrays:
    """Norms of all heads while it generates, and what it wrote."""
    recording, tokens = _recording(model)
    return {"series": recording.series.cpu().numpy(), "tokens": tokens.cpu().numpy()}


def ablated(model: Any) -> Arrays:
    """What two heads taken out do to every token of responses, in three ways, in nats."""
    texts, found = _responses(), {}
    reader = TeacherForced(model, texts, batch_size=2)
    for kind in ("zero", "mean", "resample"):
        options: dict[str, Any] = {"kind": kind, "texts": None if kind == "zero" else texts}
        effects = reader.effects(
            lambda rows, options=options: synkern.ablate(model, NODES, rows=rows, **options)
        )
        found |= {f"{kind}, kl": effects.kl, f"{kind}, loss": effects.loss}
    return found


def perturbed(model: Any) -> Arrays:
    """Logits with noise in the weights of two heads; afterwards the weights are the same bits."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with synkern.perturb(model, NODES, alpha=0.5), torch.no_grad():
        logits = model(_prompts(model), use_cache=False).logits.cpu().numpy()
    changed = [name for name, value in model.state_dict().items() if not value.equal(before[name])]
    return {"logits": logits, "weights that did not come back": np.array([len(changed)])}


def curve(model: Any) -> Arrays:
    """KL and loss of an ablation curve, token by token, and its sets of nodes."""
    scores = np.random.default_rng(1).standard_normal(LAYERS * HEADS)
    options: dict[str, Any] = {"orders": ("synergy", "random"), "draws": 2, "step": 3, "to": 1.0}
    found = synkern.ablation_curve(model, _responses(), scores, batch_size=2, **options)
    return {"kl": found.token_kl, "loss": found.token_loss, "sets": found.sets}


CASES = {"record": recorded, "ablate": ablated, "perturb": perturbed, "ablation_curve": curve}


def _recording(model: Any) -> tuple[Any, torch.Tensor]:
    given = _prompts(model)
    mask = torch.ones_like(given)
    with synkern.record(model) as recording:
        tokens = model.generate(given, attention_mask=mask, max_new_tokens=48, do_sample=False)
    return recording, tokens


def _prompts(model: Any) -> torch.Tensor:
    tokens = np.random.default_rng(0).integers(2, VOCABULARY, (3, 6))
    return torch.from_numpy(tokens).to(model.device)


def _responses() -> Responses:
    tokens = np.random.default_rng(2).integers(2, VOCABULARY, (4, 12))
    return Responses([list(t[:5]) for t in tokens], [list(t[5:]) for t in tokens])


def on_device(model: Any) -> Any:
    """A copy of a model where this check runs."""
    return copy.deepcopy(model).to(DEVICE)


def held_to_cpu(case: Callable[[Any], Arrays]) -> dict[str, Any]:
    """Errors of a case on the device and what is allowed, by dtype and array."""
    wide, single = tiny_model(torch.float64), tiny_model(torch.float32)
    expected, rounded = case(wide), case(single)
    found: dict[str, Any] = {"passed": True}
    for name, model, roundings in (("float64", wide, 2.0**-29), ("float32", single, 1.0)):
        for what, value in case(on_device(model)).items():
            here = expected[what]
            error, allowed = _furthest(value, here), 0.0
            if here.dtype.kind == "f":
                largest = float(np.nanmax(np.abs(here)))
                own = roundings * _furthest(rounded[what], here)
                allowed = SLACK * (own + float(np.finfo(value.dtype).eps) * largest)
            found[f"{what}, {name}"] = {"error": error, "allowed": allowed}
            found["passed"] &= error <= allowed
    return found


def _furthest(one: np.ndarray, other: np.ndarray) -> float:
    """Largest difference; infinite where only one has a value, or shapes differ."""
    if one.shape != other.shape or (np.isnan(one) != np.isnan(other)).any():
        return float("inf")
    return float(np.nanmax(np.abs(one.astype(float) - other.astype(float)), initial=0))


class Moves(TorchDispatchMode):
    """The largest tensor that goes from one device to another while a block runs."""

    largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and look whether its result lies elsewhere than what it read."""
        out = func(*args, **(kwargs or {}))
        read = [a for a in args if isinstance(a, torch.Tensor)]  # `copy_` has both there
        if isinstance(out, torch.Tensor) and any(a.device != out.device for a in read):
            self.largest = max(self.largest, *(a.numel() for a in read))
        return out


def shared() -> dict[str, Any]:
    """What was recorded goes into `phiid` as it lies on the device; values held to NumPy."""
    recording, _ = _recording(on_device(tiny_model(torch.float32)))
    series = recording.series
    found: dict[str, Any] = {"recorded on the device": series.device.type == DEVICE}
    held_to = truth.Truth(series.cpu().double().numpy())
    asked = {"what": "all", "path": "series", "atoms": "all", "average": "trials"}
    asked |= {"kind": "gaussian", "redundancy": "MMI", "dtype": "float64"}
    passed = [found["recorded on the device"]]
    for backend in BACKENDS:
        if backend.name not in ("triton", "cupy") or DEVICE not in backend.status().devices:
            continue
        with Moves() as moves:
            result = synkern.phiid(series, backend=backend.name)["sts"]
        row = held_to.compared(asked, series, backend.name, lambda _: contextlib.nullcontext())
        stayed = result.device == series.device and moves.largest < series.numel()
        passed += [row["passed"], stayed]
        found[backend.name] = {"largest tensor moved": moves.largest, "error": row["error"]}
    # Of no backend nothing would have been seen.
    return found | {"passed": all(passed) and len(passed) > 1}


def models(_: Path) -> Items:
    """Every case, each by itself."""
    if importlib.util.find_spec("transformers") is None:
        raise NotRunError("transformers is not installed")
    calls = {name: functools.partial(held_to_cpu, case) for name, case in CASES.items()}
    for name, call in {**calls, "shared with phiid": shared}.items():
        yield name, functools.partial(_case, name, call)


def _case(name: str, call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    found = call()
    result = {name: found, "passed": found["passed"]}
    return result if GPU else result | {"not run": "no GPU: both models ran on the CPU"}
