"""What cannot be compared is refused before a study is read, and a page that cannot be written."""

import importlib.util
import re
from contextlib import contextmanager

import pytest

import synkern
from support import painting
from synkern.study import ArgumentError, MissingPackageError, StudyError
from synkern.study.comparison import reading
from synkern.study.comparison.page import write_page

QUICK = {"bootstrap": 100, "surrogates": 19, "progress": False}


def compare(*studies, **options):
    return synkern.compare(list(studies), **QUICK | options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"studies": None}, "studies = None; give a list of folders"),
        ({"studies": [1, 2]}, "studies = 1 is no name"),
        ({"studies": [""]}, "studies = '' is no name"),
        ({"studies": ["a\0b"]}, r"studies = 'a\x00b' is no name"),
        ({"names": ["", "b"]}, "names = '' is no name; give one, as readable text"),
        ({"names": [" ", "b"]}, "names = ' ' is no name"),
        ({"names": [1, 2]}, "names = 1 is no name"),
        ({"names": ["a", "b\udcff"]}, r"names = 'b\udcff' is no name"),
        ({"names": ["a", "a"]}, "two are called 'a'; tell them apart with names"),
        ({"names": ["a", "b", "c"]}, "each of the 2 studies, whose folders come first"),
        ({"published": [None]}, "published = None is no name"),
        ({"out": ""}, "out = '' is no name"),
        ({"out": "a\0b"}, r"out = 'a\x00b' is no name"),
        ({"out": 3}, "out = 3 is no name"),
        ({"points": 10_002}, "points = 10002; give at most 10001: a profile is a straight line"),
        ({"points": 10**30}, "give an integer of at most"),
        ({"surrogates": 10**14}, "surrogates = 100000000000000 on points = 101 takes about"),
        ({"bootstrap": 10**14}, "lower bootstrap or points"),
    ],
)
def test_what_cannot_be_is_refused_before_a_study_is_read(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArgumentError, match=re.escape(message)):
        synkern.compare(**{"studies": ["one", "two"]} | QUICK | options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": ["x", "x, random weights"], "control": True}, "two are called 'x, random"),
        ({"names": ["gemma3_4b (published)", "b"], "published": ["gemma3_4b"]}, "two are called"),
        ({"names": ["a", "b"], "published": ["gpt"]}, "published = 'gpt'; choose from"),
    ],
)
def test_names_are_checked_before_anything_is_decomposed(
    finished, copy, options, message, monkeypatch
):
    def never(*args):
        raise AssertionError("decomposed")

    monkeypatch.setattr(reading, "averages_of", never)
    with pytest.raises(ArgumentError, match=message):
        compare(finished.out, copy, **options)


@pytest.mark.parametrize(
    ("package", "extra", "options"),
    [
        ("torch", "llm", {}),
        ("tqdm", "llm", {}),
        ("matplotlib", "plot", {"out": "page"}),
        ("jinja2", "plot", {"out": "page"}),
    ],
)
def test_a_missing_package_is_named(package, extra, options, finished, copy, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *rest: None if name == package else find(name)
    )
    message = rf"needs the package '{package}', of the extra '{extra}': .*synkern\[{extra}\]"
    with pytest.raises(MissingPackageError, match=message):
        compare(finished.out, copy, **options)


@pytest.mark.parametrize("package", ["torch", "tqdm", "matplotlib"])
def test_published_profiles_need_no_extra(package, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *rest: None if name == package else find(name)
    )
    assert len(compare(published=["all"]).members) == 4


@contextmanager
def files_of_at_most(size):
    """Files cannot grow beyond these bytes, as on a disk that is full."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_place_without_room_is_found_before_a_study_is_read(tmp_path):
    out = tmp_path / "new" / "page"
    with (
        files_of_at_most(10_000),
        pytest.raises(StudyError, match=r"new/page' cannot be written \(.*\); .* \(out\); the stu"),
    ):
        compare("no", "none", out=out)
    assert not list(tmp_path.iterdir())
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(StudyError, match=r"file/page' cannot be written \(Not a directory\)"):
        compare("no", "none", out=file / "page")
    assert file.read_text() == "mine"


def test_a_file_of_the_page_that_cannot_be_written_is_named(tmp_path):
    compared = compare(published=["all"])
    out = tmp_path / "new" / "page"
    message = r"comparison_mean_difference.png' cannot be written \(.*\); .* as they were"
    with painting.painted(), files_of_at_most(10_000), pytest.raises(StudyError, match=message):
        write_page(compared, out)
    assert not list(tmp_path.iterdir())
    write_page(compared, out)
    assert (out / "comparison.html").is_file()
