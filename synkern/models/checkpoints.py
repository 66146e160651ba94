"""Read models and tokenizers from files, and refuse those that are not whole."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from synkern._warnings import warn
from synkern.models.upstream import (
    MISSING_WEIGHTS,
    UNUSED_WEIGHTS,
    WEIGHTS_OF_OTHER_SHAPE,
    import_llm,
    wants_to_run_code,
)
from synkern.models.upstream_gguf import merges_pairs, parsed_once, unpacked, vocabulary_of

_SHOWN = 3  # names of weights in a message
_SPLIT_GGUF = re.compile(r"-\d{5}-of-\d{5}$")


class CheckpointError(ValueError):
    """The files of a model are damaged, incomplete or do not belong together."""


def located(name: str | os.PathLike[str]) -> str | Path:
    """Find where the model that a user names is to be read.

    Returns:
        A folder or a GGUF file as a path; a string for what must be a name on the hub, or a name
        and a revision: `NAME@REVISION`.

    Raises:
        FileNotFoundError: a path that leads nowhere.
        ValueError: a file that is not GGUF, a folder of several GGUF files and no other model, or
            an "@" without a name before and a revision behind it.
    """
    path = Path(os.path.expanduser(name))  # that of pathlib raises where there is no home
    if path.is_dir():
        return _in_folder(path)
    if path.is_file():
        if not _is_gguf(path):
            raise ValueError(
                f"name: {path} is a file, but not a GGUF file (*.gguf); give the folder that holds "
                "config.json and the weights"
            )
        return _whole_gguf(path)
    text = os.fspath(name)
    of_hub, at, revision = text.partition("@")
    if isinstance(name, os.PathLike) or _looks_like_a_path(of_hub) or _is_gguf(path):
        raise FileNotFoundError(f"name: there is no folder or file {path}")
    if at and not (of_hub and revision):
        raise ValueError(f"name: {text!r}; give a revision on the hub as NAME@REVISION")
    return text


def _in_folder(folder: Path) -> Path:
    ggufs = sorted(path for path in folder.iterdir() if _is_gguf(path))
    if not ggufs or (folder / "config.json").exists():
        return folder
    if len(ggufs) > 1:
        names = ", ".join(path.name for path in ggufs)
        raise ValueError(
            f"name: {folder} holds no config.json and {len(ggufs)} GGUF files ({names}); give the "
            "path of one of them"
        )
    return _whole_gguf(ggufs[0])


def _whole_gguf(file: Path) -> Path:
    if _SPLIT_GGUF.search(file.stem):
        raise ValueError(
            f"name: {file} is one part of a split GGUF file, which transformers cannot read; join "
            "the parts first (llama-gguf-split --merge)"
        )
    return file


def _is_gguf(path: Path) -> bool:
    return path.suffix.lower() == ".gguf"


def _looks_like_a_path(name: str) -> bool:
    return name.startswith(("~", ".", os.sep)) or name.count("/") > 1 or "\\" in name


def read_tokenizer(source: str | Path, *, trust_remote_code: bool = False) -> Any:
    """Read the tokenizer of a model.

    Raises:
        CheckpointError: its files, or the model's configuration, are damaged.
        OSError: there are none, or they cannot be read.
        ValueError: it needs code of its own and `trust_remote_code` is off.
    """
    transformers = import_llm("transformers")
    try:
        with _damage_named(
            f"the tokenizer of {source} cannot be read",
            "put the tokenizer's files there again (tokenizer.json, tokenizer_config.json)",
            source,
        ):
            return transformers.AutoTokenizer.from_pretrained(
                **_named(source), trust_remote_code=trust_remote_code
            )
    except CheckpointError:
        # A tokenizer is chosen by the model's configuration, whose mistakes show here first.
        with _damage_named(*_unusable_config(source), source), suppress(OSError):
            transformers.AutoConfig.from_pretrained(
                **_named(source), trust_remote_code=trust_remote_code
            )
        raise


@contextmanager
def _damage_named(what: str, remedy: str, source: str | Path) -> Iterator[None]:
    """Say of whatever a parser raises which file is at fault; what explains itself passes."""
    damage: Exception
    try:
        yield
        return
    except (json.JSONDecodeError, UnicodeError) as error:
        damage = error
    except ValueError as error:
        if not wants_to_run_code(error):
            raise
        raise ValueError(
            f"name: {source} needs Python code that comes with it, which could do whatever you "
            "can; if you have read and trust it, allow it with trust_remote_code=True "
            "(--trust-remote-code)"
        ) from error
    except (ImportError, MemoryError, OSError, RuntimeError):
        raise
    except Exception as error:
        damage = error
    why = f"{type(damage).__name__}: {' '.join(str(damage).split())}"
    raise CheckpointError(f"name: {what} ({why}); {remedy}") from damage


def _unusable_config(source: str | Path) -> tuple[str, str]:
    """The words for a configuration that makes no model: what is wrong, and what would help."""
    what = f"{source} cannot be read as its config.json or its list of weights says"
    return what, "put these files there again, as they came with the weights"


def read_model(source: str | Path, *, dtype: torch.dtype, trust_remote_code: bool = False) -> Any:
    """Read a causal language model, all of whose weights are in the files.

    Raises:
        CheckpointError: weights are missing or have other shapes than the configuration says, or
            the configuration makes no model.
        OSError: there is no such model, or it cannot be read.
        ValueError: it needs code of its own and `trust_remote_code` is off.

    Warns:
        UserWarning: the files hold more layers than the configuration says.
    """
    models = import_llm("transformers").AutoModelForCausalLM
    with _damage_named(*_unusable_config(source), source):
        model, loaded = models.from_pretrained(
            **_named(source),
            **(unpacked() if _is_gguf(Path(source)) else {}),
            dtype=dtype,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
            # Told and refused here, by name.
            ignore_mismatched_sizes=True,
        )
    missing = sorted(loaded[MISSING_WEIGHTS])
    if missing:
        raise CheckpointError(
            f"name: {source} lacks {_some(missing)} of {_count(model)} weights of its "
            f"{type(model).__name__}, and random numbers would stand in their place; get all of "
            "the files, and a config.json that belongs to them"
        )
    others = sorted(
        f"{name} {tuple(of_file)}" for name, of_file, _ in loaded[WEIGHTS_OF_OTHER_SHAPE]
    )
    if others:
        raise CheckpointError(
            f"name: {source} holds {_some(others)} in other shapes than its config.json says; get "
            "the files that belong together"
        )
    _warn_of_further_layers(source, model, loaded[UNUSED_WEIGHTS])
    return model


def _warn_of_further_layers(source: str | Path, model: Any, unused: Iterable[str]) -> None:
    """Weights under a name of the model but for its numbers belong to further layers."""
    kinds = {re.sub(r"\d+", "#", name) for name, _ in model.named_parameters()}
    further = sorted(name for name in unused if re.sub(r"\d+", "#", name) in kinds)
    if further:
        warn(
            f"name: {source} holds {_some(further)} for which its config.json has no layers, so "
            "the model is read without them"
        )


def refuse_not_finite(model: Any, source: str | Path) -> None:
    """Check that every weight of a model is a number.

    Raises:
        CheckpointError: some are infinite or not a number.
    """
    wrong = [name for name, weight in model.named_parameters() if not _is_finite(weight)]
    if wrong:
        raise CheckpointError(
            f"name: {_some(wrong)} of {_count(model)} weights of {source} hold infinities or what "
            f"is no number in {model.dtype}; the files are damaged, or overflow in this dtype: "
            "bfloat16 and float32 reach further than float16"
        )


def _is_finite(weight: torch.Tensor) -> bool:
    if weight.is_meta or not weight.is_floating_point() or weight.numel() == 0:
        return True
    values = weight.detach()
    if values.element_size() == 1:  # in eight bits torch has no minimum
        values = values.float()
    # Both ends are NaN where any element is; unlike isfinite they need no memory.
    return bool(torch.isfinite(torch.stack(torch.aminmax(values))).all())


def read_gguf(file: Path, *, dtype: torch.dtype) -> tuple[Any, Any]:
    """Read the model and the tokenizer of a GGUF file, weights dequantised.

    Raises:
        CheckpointError: the file is damaged or incomplete.
        ImportError: a package is missing, or transformers is too old for the file's tokenizer.
        OSError: the file cannot be read.
        ValueError: transformers cannot read GGUF files of this architecture.
    """
    transformers = import_llm("transformers")
    for package in ("gguf", "accelerate"):  # without them transformers fails with less to say
        import_llm(package)
    with parsed_once(file):
        tokenizer = read_tokenizer(file)
        _heed_vocabulary(tokenizer, file)  # which may refuse it, long before all weights are read
        read = read_model(file, dtype=dtype)
        # A model read from GGUF counts as quantised and refuses to be saved, whatever its weights
        # are.
        config = transformers.AutoConfig.from_pretrained(**_named(file), trust_remote_code=False)
        model = transformers.AutoModelForCausalLM.from_config(
            config, dtype=dtype, trust_remote_code=False
        )
        model.load_state_dict(read.state_dict())
        model.generation_config = read.generation_config
    return model, tokenizer


def _heed_vocabulary(tokenizer: Any, file: Path) -> None:
    """Give a tokenizer what its GGUF file says of it; refuse one that reads other words.

    transformers 5.17 takes the beginning token of SmolLM2 as its end, and cuts the texts of Gemma
    into single letters, without a beginning token.
    """
    said = vocabulary_of(file)
    if said.merged and not merges_pairs(tokenizer):
        raise _too_old(file, "does not merge its tokens from pairs")
    for role, number in said.special.items():
        token = tokenizer.convert_ids_to_tokens(number) if number < len(tokenizer) else None
        if token is None:
            raise CheckpointError(
                f"name: {file} says that its {role} is token {number}, but has {len(tokenizer)} "
                "tokens; the file is damaged, so get it again"
            )
        setattr(tokenizer, role, token)
    if said.adds_bos is not None and said.adds_bos != _begins(tokenizer):
        tokenizer.add_bos_token = said.adds_bos
        if said.adds_bos != _begins(tokenizer):
            with_or_out = "without" if said.adds_bos else "with"
            raise _too_old(file, f"begins its texts {with_or_out} the beginning token")


def _begins(tokenizer: Any) -> bool:
    """Whether texts begin with the beginning token."""
    return tokenizer.bos_token_id in tokenizer("a")["input_ids"][:1]


def _too_old(file: Path, what: str) -> ImportError:
    version = import_llm("transformers").__version__
    return ImportError(
        f"name: transformers {version} {what}, unlike what {file.name} says (5.24 follows Gemma's "
        "files); get a newer one with: pip install --upgrade transformers"
    )


def _named(source: str | Path) -> dict[str, Any]:
    """The arguments that tell transformers what to read."""
    if isinstance(source, Path) and _is_gguf(source):
        return {"pretrained_model_name_or_path": source.parent, "gguf_file": source.name}
    if isinstance(source, str) and "@" in source:
        name, _, revision = source.partition("@")
        return {"pretrained_model_name_or_path": name, "revision": revision}
    return {"pretrained_model_name_or_path": os.fspath(source)}


def _some(names: list[str]) -> str:
    """A number of names, and the first of them."""
    more = ", ..." if len(names) > _SHOWN else ""
    return f"{len(names)} ({', '.join(names[:_SHOWN])}{more})"


def _count(model: Any) -> int:
    return sum(1 for _ in model.named_parameters())
