"""How a study came about: its key for each step, its environment, and digests of what it takes.

A step is computed again where its key has changed: the options, packages, files and earlier steps
that its arrays depend on.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from synkern._version import VERSION
from synkern.study.errors import MissingPackageError
from synkern.study.options import names_for
from synkern.study.prompts import Prompt
from synkern.study.settings import WEIGHTS, Settings, StudyOptions
from synkern.study.stage import Facts, Stage, step_name, steps_of

_EXTRAS = {
    "torch": "llm",
    "transformers": "llm",
    "tqdm": "llm",
    "matplotlib": "plot",
    "jinja2": "plot",
    "bokeh": "plot",
}
# What experiments need beside, by the extra that brings all of it.
EXTRAS_OF_EXPERIMENTS = {
    "networks": ("scipy", "scikit-network"),
    "train": ("trl", "peft", "datasets", "scipy"),
}
# Distributions that are imported by another name.
_MODULES = {"scikit-network": "sknetwork"}
# Elements of each parameter that enter the fingerprint of a model's weights.
_SAMPLED = 4096


def check_packages(also: Collection[str] = ()) -> None:
    """Refuse to begin a study, or an experiment on one, that could not be finished.

    Args:
        also: distributions that an experiment needs beside those of any study, all of one of
            `EXTRAS_OF_EXPERIMENTS`.

    Raises:
        MissingPackageError: a package of an extra is not installed.
    """
    for package, extra in _EXTRAS.items():
        if importlib.util.find_spec(package) is None:
            raise MissingPackageError(
                f"a study needs the package {package!r}, of the extra {extra!r}: "
                'pip install "synkern[llm,plot]"'
            )
    for package in also:
        if importlib.util.find_spec(_MODULES.get(package, package)) is None:
            extra = next(e for e, brings in EXTRAS_OF_EXPERIMENTS.items() if {*also} <= {*brings})
            raise MissingPackageError(
                f"this experiment needs the package {package!r}, of the extra {extra!r}: "
                f'pip install "synkern[{extra}]"'
            )


def keys(
    stages: Iterable[Stage], settings: Settings, environment: Mapping[str, Any]
) -> dict[str, Facts]:
    """Return for each step all that its arrays depend on.

    Args:
        stages: that the study has, later ones after those that they take results of. Their steps
            for all weights have a key, also for a control that is left out this time.
        settings: of the study.
        environment: as `environment_of` gives it.
    """
    found: dict[str, Facts] = {}
    for step in steps_of(stages, WEIGHTS):
        stage, weights = step
        options = names_for(StudyOptions, stage.name, step.name)
        found[step.name] = {
            **stage.ingredients(settings),
            **{name: getattr(settings, name) for name in options},
            **{package: environment[package] for package in stage.packages(settings)},
            **{earlier: digest(found[step_name(earlier, weights)]) for earlier in stage.after},
        }
    return found


def environment_of(settings: Settings, also: Iterable[str] = ()) -> Facts:
    """Return the versions of what computes, and the machine.

    Args:
        settings: of the study.
        also: distributions that an experiment needs beside those of any study.
    """
    torch = importlib.import_module("torch")
    device, on_gpu = settings.device, settings.on_gpu
    packages = (
        "transformers",
        "tokenizers",
        "accelerate",
        "gguf",
        *model_packages(settings),
        *also,
    )
    return {
        "synkern": VERSION,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
        **{package: _version(package) for package in packages},
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(device) if on_gpu else None,
        "cuda": torch.version.cuda if on_gpu else None,
        "tf32": torch.backends.cuda.matmul.allow_tf32 if on_gpu else None,
    }


def model_packages(settings: Settings) -> tuple[str, ...]:
    """Return the packages that carry the model, if some do."""
    packaged = importlib.import_module("synkern.models.packaged").PACKAGED
    return packaged[settings.model].distributions if settings.model in packaged else ()


def files_fingerprint(model: str) -> str | None:
    """Return a digest of the files of a local model: names, sizes and times of change."""
    checkpoints = importlib.import_module("synkern.models.checkpoints")
    packaged = importlib.import_module("synkern.models.packaged").PACKAGED
    try:
        source = None if model in packaged else checkpoints.located(model)
    except (OSError, ValueError):
        return None  # why it cannot be loaded is said when it is
    if not isinstance(source, Path):
        return None
    found = source.iterdir() if source.is_dir() else [source]
    files = sorted(file for file in found if file.is_file())
    return digest([(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files])


def prompts_digest(prompts: Iterable[Prompt]) -> str:
    """Return a digest of prompts and their categories."""
    return digest([(prompt.category, prompt.text) for prompt in prompts])


def digest(value: Any) -> str:
    """Return the SHA-256 of what JSON can hold."""
    return sha256(json.dumps(value, sort_keys=True).encode())


def sha256(content: bytes) -> str:
    """Return the SHA-256 of bytes in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def model_facts(model: Any) -> Facts:
    """Return what tells a loaded model from another one."""
    config = {
        name: value
        for name, value in model.config.to_dict().items()
        if name not in ("_name_or_path", "transformers_version")
    }
    return {
        "class": type(model).__name__,
        "parameters": sum(p.numel() for p in model.parameters()),
        "attention": getattr(model.config, "_attn_implementation", None),
        "hub_commit": getattr(model.config, "_commit_hash", None),
        "config_sha256": sha256(json.dumps(config, sort_keys=True, default=str).encode()),
        "weights_sha256_of_sample": weights_fingerprint(model),
    }


def weights_fingerprint(model: Any) -> str | None:
    """Return the SHA-256 over name, shape and some evenly spaced elements of every parameter.

    A sample, because hashing all of a large model takes longer than recording it: a change of a few
    weights between the sampled ones does not show. None for weights that are not in memory.
    """
    torch = importlib.import_module("torch")
    found = hashlib.sha256()
    for name, parameter in model.named_parameters():
        if parameter.is_meta:
            return None
        found.update(f"{name} {tuple(parameter.shape)}".encode())
        values = parameter.detach().reshape(-1)
        values = values[:: max(1, len(values) // _SAMPLED)]
        found.update(values.to("cpu", torch.float64).numpy().tobytes())
    return found.hexdigest()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
