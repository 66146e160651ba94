"""Reading models from files: only whole ones, no code of theirs, and every kind of path."""

import io
import json
import shutil
import sys
import warnings
from pathlib import Path

import pytest
import torch
import transformers as tf
from safetensors.torch import load_file, save_file

from support import tiny_study
from support.tiny_gguf import write_gguf
from support.tiny_models import ARCHITECTURES, build
from synkern.models import checkpoints as checkpoint
from synkern.models import language_model as models
from synkern.models.checkpoints import CheckpointError, located
from synkern.models.language_model import load


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "whole"
    tiny_study.save_model(folder)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    """A copy to spoil."""
    return Path(shutil.copytree(whole, tmp_path / "model"))


def change(folder, name, **entries):
    file = folder / name
    file.write_text(json.dumps(json.loads(file.read_text()) | entries))


def weights(folder, change):
    file = folder / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def test_a_whole_model_is_read_without_a_word(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model, tokenizer = load(folder)
    assert len(tokenizer) == model.config.vocab_size


# Weights


@pytest.mark.parametrize("missing", ["lm_head.weight", "model.layers.2.mlp.up_proj.weight"])
def test_a_weight_that_is_missing_is_named(folder, missing):
    weights(folder, lambda tensors: tensors.pop(missing))
    with pytest.raises(CheckpointError, match=rf"model lacks 1 \({missing}\) of 39 weights"):
        load(folder)


def test_many_weights_that_are_missing_are_counted(folder):
    def drop(tensors):
        for name in list(tensors)[::2]:
            del tensors[name]

    weights(folder, drop)
    with pytest.raises(CheckpointError, match=r"lacks 20 \(.*, .*, .*, \.\.\.\) of 39 weights"):
        load(folder)


def test_more_layers_than_weights(folder):
    change(folder, "config.json", num_hidden_layers=5)
    with pytest.raises(CheckpointError, match=r"lacks 9 \(model\.layers\.4\."):
        load(folder)


def test_more_weights_than_layers(folder):
    change(folder, "config.json", num_hidden_layers=3)
    with pytest.warns(UserWarning, match=r"holds 9 \(model\.layers\.3\..*no layers"):
        load(folder)


def test_weights_of_other_shapes_are_named(folder):
    change(folder, "config.json", intermediate_size=50)
    message = r"holds 12 \(model\.layers\.0\.mlp\.down_proj\.weight \(32, 48\), .*in other shapes"
    with pytest.raises(CheckpointError, match=message):
        load(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_weights_that_are_no_numbers_are_named(folder, value, dtype):
    def spoil(tensors):
        tensors["model.layers.1.self_attn.o_proj.weight"][3, 2] = value
        tensors["model.norm.weight"][0] = value

    weights(folder, spoil)
    message = r"2 \(model\.layers\.1\.self_attn\.o_proj\.weight, model\.norm\.weight\) of 39"
    with pytest.raises(CheckpointError, match=message):
        load(folder, dtype=dtype)


def test_weights_that_overflow_are_named(folder):
    weights(folder, lambda tensors: tensors["model.norm.weight"].fill_(1e5))
    load(folder, dtype="bfloat16")
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight.*no number in torch\.float16"):
        load(folder, dtype="float16")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_tied_weights_are_not_missed(name, tmp_path):
    model = build(name)
    model.config.get_text_config().tie_word_embeddings = True
    model.config.tie_word_embeddings = True
    model.tie_weights()
    model.save_pretrained(tmp_path)
    read = checkpoint.read_model(tmp_path, dtype=torch.float32)
    assert read.num_parameters() > 0
    assert read.get_output_embeddings().weight is read.get_input_embeddings().weight


# Code that comes with a model

CODE = """
from pathlib import Path
Path({sign!r}).touch()
import transformers
class MineConfig(transformers.LlamaConfig): model_type = "mine"
class Mine(transformers.LlamaForCausalLM): config_class = MineConfig
class Words(transformers.PreTrainedTokenizerFast): pass
"""


@pytest.fixture
def sign(tmp_path):
    return tmp_path / "it ran"


@pytest.fixture
def yes(monkeypatch):
    """Standard input agrees to everything."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 20))


def with_code(folder, sign, tokenizer):
    (folder / "mine.py").write_text(CODE.format(sign=str(sign)))
    if tokenizer:
        auto = {"AutoTokenizer": [None, "mine.Words"]}
        change(folder, "tokenizer_config.json", auto_map=auto, tokenizer_class="Words")
    else:
        auto = {"AutoConfig": "mine.MineConfig", "AutoModelForCausalLM": "mine.Mine"}
        change(folder, "config.json", auto_map=auto, model_type="mine", architectures=["Mine"])


@pytest.mark.usefixtures("yes")
@pytest.mark.parametrize("tokenizer", [True, False])
def test_code_of_a_model_does_not_run(folder, sign, tokenizer):
    with_code(folder, sign, tokenizer)
    try:
        load(folder)
    except ValueError as error:
        # Ours, which says what would help.
        assert "if you have read and trust it" in str(error)  # noqa: PT017
    else:
        assert tokenizer  # transformers has a tokenizer of its own for these files
    assert not sign.exists()
    assert sys.stdin.read() == "y\n" * 20  # nobody asked


def test_code_of_a_model_runs_where_that_is_allowed(folder, sign, tmp_path, monkeypatch):
    dynamic = "transformers.dynamic_module_utils.HF_MODULES_CACHE"
    monkeypatch.setattr(dynamic, str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    with_code(folder, sign, tokenizer=False)
    model, _ = load(folder, trust_remote_code=True)
    assert type(model).__name__ == "Mine"
    assert sign.exists()


# Tokenizers


@pytest.mark.parametrize("content", ["{}", "[", "", "null", '{"model": 1}'])
def test_a_damaged_tokenizer_is_named(folder, content):
    (folder / "tokenizer.json").write_text(content)
    with pytest.raises(CheckpointError, match="the tokenizer of .*model cannot be read"):
        load(folder)


# Configurations


@pytest.mark.parametrize(
    "entries",
    [
        # The first three already end the tokenizer, whose files are not to blame.
        *({"num_attention_heads": value} for value in (3, "two", None)),
        *({"hidden_act": "nope"}, {"num_key_value_heads": 0}, {"pad_token_id": 999}),
        {"rope_parameters": {"rope_type": "nope", "rope_theta": 1e4}},
    ],
)
def test_a_configuration_that_makes_no_model_is_named(folder, entries):
    change(folder, "config.json", **entries)
    with pytest.raises(CheckpointError, match=r"model cannot be read as its config.json .*put the"):
        load(folder)


@pytest.mark.parametrize("content", ["{}", "[", "\0", "[1]"])
def test_a_damaged_list_of_weights_is_named(folder, content):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(CheckpointError, match="or its list of weights says .*put these files"):
        load(folder)


@pytest.mark.parametrize("kept", [4, 3000])
def test_truncated_weights_are_named(folder, kept):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match="SafetensorError: .*put these files there again"):
        load(folder)


# Paths


@pytest.mark.parametrize("given", ["file", "folder", "home", "text", "upper case"])
def test_a_gguf_file(whole, tmp_path, monkeypatch, given):
    name = "Tiny.GGUF" if given == "upper case" else "tiny.gguf"
    file = write_gguf(tmp_path / name, whole)
    monkeypatch.setenv("HOME", str(tmp_path))
    forms = {"folder": tmp_path, "home": "~/tiny.gguf", "text": str(file)}
    model, tokenizer = load(forms.get(given, file))
    assert tokenizer.convert_tokens_to_ids("ab") == 23
    expected = load_file(whole / "model.safetensors")
    read = model.state_dict()
    for key, value in expected.items():
        assert torch.equal(read[key], value), key
    assert not model.training
    # A twin of it can be made, unlike of what transformers reads.
    assert models.randomly_initialised(model, 0).num_parameters() == model.num_parameters()
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_folder_in_ones_home(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    model, _ = load("~/model")
    assert type(model) is tf.LlamaForCausalLM


@pytest.mark.parametrize("name", ["~/none", "./none", "/none/at/all", "none.gguf", Path("none")])
def test_a_path_that_leads_nowhere(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="name: there is no folder or file .*none"):
        load(name)


def test_what_is_no_path_is_a_name_on_the_hub():
    assert located("somebody/model") == "somebody/model"
    assert located("gpt2-of-nobody") == "gpt2-of-nobody"


def test_files_of_other_kinds_are_refused(tmp_path):
    other = tmp_path / "model.safetensors"
    other.touch()
    with pytest.raises(ValueError, match=r"model\.safetensors is a file, but not a GGUF file"):
        load(other)
    part = tmp_path / "large-00001-of-00003.gguf"
    part.touch()
    for name in (part, tmp_path):
        with pytest.raises(ValueError, match="one part of a split GGUF file"):
            load(name)
    (tmp_path / "second.gguf").touch()
    with pytest.raises(ValueError, match=r"2 GGUF files \(large.*, second\.gguf\)"):
        load(tmp_path)
