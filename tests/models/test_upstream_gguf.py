"""What is read of transformers and gguf beyond their promises: one test for each thing."""

import io
import sys

import gguf
import pytest
import tokenizers
import torch
import transformers as tf
from transformers import modeling_gguf_pytorch_utils as loader
from transformers.quantizers import quantizer_gguf
from transformers.utils import logging

from support import tiny_study
from support.tiny_gguf import write_gguf
from synkern.models import checkpoints, upstream_gguf
from synkern.models.checkpoints import CheckpointError, read_gguf


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("models") / "whole"
    tiny_study.save_model(made)
    return made


@pytest.fixture
def file(folder, tmp_path):
    return write_gguf(tmp_path / "tiny.gguf", folder)


class Screen(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    "given", [{"bos": 3, "eos": 5, "unknown": 7, "padding": 9}, {"bos": 2, "eos": 1}]
)
def test_special_tokens_are_those_of_the_file(folder, tmp_path, given):
    roles = {"bos": "bos", "eos": "eos", "unknown": "unk", "padding": "pad"}
    file = write_gguf(tmp_path / "tiny.gguf", folder, **given)
    said = {f"{roles[name]}_token": number for name, number in given.items()}
    assert upstream_gguf.vocabulary_of(file).special == said
    model, tokenizer = read_gguf(file, dtype=torch.float32)
    assert {role: getattr(tokenizer, f"{role}_id") for role in said} == said
    assert model.generation_config.eos_token_id == given["eos"]


def test_a_file_without_special_tokens_names_none(folder, tmp_path):
    file = write_gguf(tmp_path / "tiny.gguf", folder, bos=None, eos=None)
    assert upstream_gguf.vocabulary_of(file).special == {}


@pytest.mark.parametrize("name", ["bos", "eos", "unknown", "padding"])
def test_a_special_token_beyond_the_vocabulary_is_refused(folder, tmp_path, name):
    file = write_gguf(tmp_path / "tiny.gguf", folder, **{name: 24})
    with pytest.raises(CheckpointError, match=r"is token 24, but has 24 tokens|cannot be read"):
        read_gguf(file, dtype=torch.float32)


@pytest.mark.parametrize(
    ("kind", "says", "expected"),
    [
        ("gpt2", None, False),
        ("gpt2", True, True),
        ("gpt2", False, False),
        ("llama", None, True),
        ("llama", True, True),
        ("llama", False, False),
    ],
)
def test_texts_begin_as_the_file_says(folder, tmp_path, kind, says, expected):
    file = write_gguf(tmp_path / "tiny.gguf", folder, kind=kind, adds_bos=says, bos=5, unknown=6)
    _, tokenizer = read_gguf(file, dtype=torch.float32)
    text = [3, 2] if kind == "gpt2" else [21, 3, 2]  # SentencePiece puts a space before
    assert tokenizer("dc").input_ids == [5] * expected + text
    tokenizer.save_pretrained(tmp_path / "saved")
    saved = tf.AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert saved("dc").input_ids == [5] * expected + text


def other_tokenizer(backend):
    """As an older transformers makes them."""
    made = tf.PreTrainedTokenizerFast(tokenizer_object=tokenizers.Tokenizer(backend))
    made.add_special_tokens({"bos_token": "b"})
    return made


def test_a_tokenizer_that_does_not_merge_is_refused(folder, tmp_path, monkeypatch):
    file = write_gguf(tmp_path / "tiny.gguf", folder, kind="llama")
    unigram = other_tokenizer(tokenizers.models.Unigram([("a", 0.0), ("b", 0.0)], unk_id=0))
    monkeypatch.setattr(checkpoints, "read_tokenizer", lambda _: unigram)
    with pytest.raises(ImportError, match=r"transformers \S+ does not merge .*--upgrade"):
        read_gguf(file, dtype=torch.float32)


def test_a_tokenizer_that_cannot_add_a_beginning_is_refused(folder, tmp_path, monkeypatch):
    file = write_gguf(tmp_path / "tiny.gguf", folder, adds_bos=True, bos=1, eos=0)
    merging = other_tokenizer(tokenizers.models.BPE({"a": 0, "b": 1}, []))
    monkeypatch.setattr(checkpoints, "read_tokenizer", lambda _: merging)
    monkeypatch.setattr(type(merging), "update_post_processor", lambda _: None)
    with pytest.raises(ImportError, match="begins its texts without the beginning token, unlike"):
        read_gguf(file, dtype=torch.float32)


def test_a_file_is_parsed_once(file, monkeypatch):
    parsed = []
    parse = gguf.GGUFReader.__init__

    def counted(self, path, *args):
        parsed.append(path)
        parse(self, path, *args)

    monkeypatch.setattr(gguf.GGUFReader, "__init__", counted)
    read_gguf(file, dtype=torch.float32)
    assert parsed == [file]


def test_another_file_is_parsed_meanwhile(file, folder, tmp_path):
    other = write_gguf(tmp_path / "other.gguf", folder, eos=4)
    with upstream_gguf.parsed_once(file):
        ours, theirs = gguf.GGUFReader(file), gguf.GGUFReader(other)
        assert gguf.GGUFReader(str(file)) is ours
    key = "tokenizer.ggml.eos_token_id"
    assert [int(r.fields[key].contents()) for r in (ours, theirs)] == [2, 4]


@pytest.mark.parametrize("fails", [False, True])
def test_all_is_as_before_afterwards(file, fails):
    before = gguf.GGUFReader, loader.tqdm, logging.is_progress_bar_enabled()
    if fails:
        file.write_bytes(file.read_bytes()[:200])
        with pytest.raises(CheckpointError):
            read_gguf(file, dtype=torch.float32)
    else:
        read_gguf(file, dtype=torch.float32)
    assert (gguf.GGUFReader, loader.tqdm, logging.is_progress_bar_enabled()) == before
    assert not upstream_gguf._parsing.locked()


def test_on_a_screen_there_is_one_bar_that_ends_its_line(file, monkeypatch):
    monkeypatch.setattr(sys, "stderr", screen := Screen())
    read_gguf(file, dtype=torch.float32)
    (line,) = screen.getvalue().splitlines()[-1:]
    assert screen.getvalue().count("\n") == 1
    assert screen.getvalue().endswith("\n")
    assert line.startswith("tiny.gguf: 100%|")
    tensors = len(gguf.GGUFReader(file).tensors)
    assert f"{tensors}/{tensors}" in line


@pytest.mark.parametrize("log", [True, False])
def test_there_is_no_bar_in_a_log_nor_where_they_are_off(file, monkeypatch, log):
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO() if log else Screen())
    if not log:
        monkeypatch.setattr(logging, "_tqdm_active", False)
    read_gguf(file, dtype=torch.float32)
    assert stream.getvalue() == ""


def test_weights_are_asked_for_unpacked(file, monkeypatch):
    """Not in blocks, which would need a kernel of the hub and could not be moved to a new model."""
    asked = []
    read_header = quantizer_gguf.GgufHfQuantizer.read_header

    def noted(self, *args):
        asked.append(self.quantization_config.dequantize)
        read_header(self, *args)

    monkeypatch.setattr(quantizer_gguf.GgufHfQuantizer, "read_header", noted)
    model, _ = read_gguf(file, dtype=torch.float32)
    assert asked == [True]
    assert type(model) is tf.LlamaForCausalLM
    assert model.dtype == torch.float32
