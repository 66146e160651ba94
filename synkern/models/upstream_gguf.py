"""What synkern reads of transformers and gguf beyond what they promise, for GGUF files.

The rest is in synkern/models/upstream.py; each has a test in tests/models/test_upstream_gguf.py.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synkern.models.upstream import import_llm

# Attributes of a tokenizer, and the entries of a GGUF file that say them.
_SPECIAL_TOKENS = {
    "bos_token": "tokenizer.ggml.bos_token_id",
    "eos_token": "tokenizer.ggml.eos_token_id",
    "unk_token": "tokenizer.ggml.unknown_token_id",
    "pad_token": "tokenizer.ggml.padding_token_id",
}
_ADDS_BOS = "tokenizer.ggml.add_bos_token"
# What is put in the place of names of other modules holds for all threads.
_parsing = threading.Lock()


@dataclass(frozen=True)
class Vocabulary:
    """What a GGUF file says of its tokenizer, which not all versions of transformers heed.

    Attributes:
        special: the numbers of the special tokens, by the tokenizer's attribute.
        adds_bos: whether texts begin with the beginning token; None if that is not known.
        merged: whether its words are merged from pairs, as SentencePiece's kind "BPE" does.
    """

    special: dict[str, int]
    adds_bos: bool | None
    merged: bool


def vocabulary_of(file: Path) -> Vocabulary:
    """Read what a GGUF file says of its tokenizer."""
    metadata, _ = import_llm("transformers.integrations.gguf").read_gguf_metadata(str(file))
    named = {role: metadata.get(key) for role, key in _SPECIAL_TOKENS.items()}
    kind = metadata.get("tokenizer.ggml.model")
    merged = kind == "llama"
    return Vocabulary(
        special={role: int(number) for role, number in named.items() if number is not None},
        # Files of SentencePiece that say nothing mean yes; those of Gemma 4 say yes although the
        # chat template begins texts itself.
        adds_bos=None if kind == "gemma4" else metadata.get(_ADDS_BOS, merged or None),
        merged=merged,
    )


def merges_pairs(tokenizer: Any) -> bool:
    """Whether a tokenizer merges its words from pairs."""
    return type(tokenizer.backend_tokenizer.model).__name__ == "BPE"


def unpacked() -> dict[str, Any]:
    """The argument of from_pretrained for weights as numbers.

    Without it those of some architectures stay in the file's blocks where there is a kernel that
    multiplies blocks, which transformers looks for on the hub.
    """
    return {"quantization_config": import_llm("transformers").GgufConfig(dequantize=True)}


@contextmanager
def parsed_once(file: Path) -> Iterator[None]:
    """Let transformers parse a GGUF file once, and show one bar.

    By itself it parses all words anew for the configuration, the weights and the tokenizer, which
    takes seconds each time where there are hundreds of thousands, and shows a bar that no switch
    turns off. Here the bar follows the switch of transformers, and shows on terminals only.
    """
    gguf = import_llm("gguf")
    loader = import_llm("transformers.modeling_gguf_pytorch_utils")
    parser_of, iterated = gguf.GGUFReader, loader.tqdm
    parser = functools.cache(lambda: parser_of(file))

    def parse(path: Any, *args: Any, **options: Any) -> Any:
        ours = not (args or options) and Path(path) == file
        return parser() if ours else parser_of(path, *args, **options)

    with _parsing, no_bars() as shown, _bar(file.name, shown) as bar:

        def counted(tensors: Sequence[Any], **_: Any) -> Iterator[Any]:
            bar.reset(total=len(tensors))
            for tensor in tensors:
                yield tensor
                bar.update()

        gguf.GGUFReader, loader.tqdm = parse, counted
        try:
            yield
        finally:
            gguf.GGUFReader, loader.tqdm = parser_of, iterated


def _bar(label: str, shown: bool) -> Any:
    # None: no bar where standard error is not a terminal, such as the log of a batch job.
    disable = None if shown else True
    return import_llm("tqdm").tqdm(desc=label, unit="tensor", disable=disable)


@contextmanager
def no_bars() -> Iterator[bool]:
    """Switch the bars of transformers off; yields whether they were on."""
    logging = import_llm("transformers.utils.logging")
    shown = bool(logging.is_progress_bar_enabled())
    logging.disable_progress_bar()
    try:
        yield shown
    finally:
        if shown:
            logging.enable_progress_bar()
