"""What does not fit is refused before it is begun, with what would fit."""

import subprocess
import sys
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

import synkern
from support.optional import torch
from synkern import _memory


@pytest.fixture
def little(monkeypatch):
    """100 MB are free."""
    monkeypatch.setattr(_memory, "_host", lambda: iter([10**12, 100 * 10**6]))


@pytest.mark.parametrize("backend", ["auto", "numpy", "torch"])
def test_matrices_are_refused_before_the_work(little, rng, backend):
    series = rng.standard_normal((3, 40, 4000))
    said = r"2 atoms of 16,000,000 pairs x 1 trials take 0.4 GB, and 0.1 GB are free; take"
    with pytest.raises(MemoryError, match=said) as info:
        synkern.phiid(series, backend=backend)
    for way in ("phiid_nodes", "pairs='bipartite'", "pairs=", "fewer atoms", "dtype='float32'"):
        assert way in str(info.value)
    with pytest.raises(MemoryError, match="x 3 trials.*average='trials'"):
        synkern.phiid(series, average=None, backend=backend)
    with pytest.raises(MemoryError, match="16,000,000 pairs"):
        synkern.persistence_reference(series, backend=backend)


@pytest.mark.parametrize("verb", [synkern.phiid, synkern.persistence_reference])
def test_exchanged_axes_are_told_before_memory(little, rng, verb):
    with pytest.raises(ValueError, match=r"4 time points .*is it transposed\? Time comes first"):
        verb(rng.standard_normal((4, 10000)))
    with (
        pytest.warns(UserWarning, match=r"8 time points .*is it transposed\? Time comes first"),
        pytest.raises(MemoryError),
    ):
        verb(rng.standard_normal((8, 10000)))


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("zero_filled", [False, True])
def test_a_mapped_series_is_refused_before_it_is_taken_in(little, library, zero_filled):
    """60 prompts x 100 tokens x 46,080 neurons: 1.1 GB, and twice as much in float64."""
    series = np.broadcast_to(np.float32(1), (60, 100, 46080))
    if library == "torch":
        series = torch.ones(1).expand(60, 100, 46080)
    nodes = [f"L0N{k}" for k in range(46080)]
    given = SimpleNamespace(series=series, nodes=nodes, zero_filled=zero_filled)
    for verb in (synkern.phiid, lambda recording: synkern.phiid_lags(recording, tau=[1, 2])):
        tracemalloc.start()
        with pytest.raises(MemoryError, match=r"2 atoms of 2,123,366,400 pairs .*phiid_nodes"):
            verb(given)
        assert tracemalloc.get_traced_memory()[1] < 10e6  # a name for each node
        tracemalloc.stop()


def test_all_that_lies_beside_is_counted(little, rng):
    """100 MB: 12.5 million numbers."""
    series = rng.standard_normal((1, 40, 1900))  # 3.6 million pairs
    for given, kept in ((series, 1), (rng.standard_normal((3, 40, 1200)), 3)):
        pairs = f"{given.shape[-1] ** 2:,} pairs x {kept} trials"
        for options in (
            {"average": None, "atoms": ["rtx", "sty"]} if kept > 1 else {"atoms": ["rtx", "xtr"]},
            {"average": None, "atoms": ["sts", "rtr", "str"]},
            {"tau": [1, 2, 3, 4], "atoms": "sts", "average": None},
        ):
            verb = synkern.phiid_lags if "tau" in options else synkern.phiid
            with pytest.raises(MemoryError, match=pairs):
                verb(given, **options)
    with pytest.raises(MemoryError, match="x 1 trials x 6 lags take 0.2 GB.*fewer lags"):
        synkern.phiid_lags(series, atoms="sts", tau=range(1, 7))


@pytest.mark.parametrize(
    ("pairs", "groups", "count"),
    [
        ("within", [0] * 1000 + [1] * 200, 519400),
        ("between", [0] * 500 + [1] * 700 + [2] * 500, 500 * 700 + 500 * 500 + 700 * 500),
        ("bipartite", [range(2600), range(100, 2700)], 2600 * 2600),
    ],
)
def test_lists_of_pairs_are_refused_before_they_are_made(little, rng, pairs, groups, count):
    series = rng.standard_normal((40, 2700 if pairs == "bipartite" else len(groups)))
    with pytest.raises(MemoryError, match=f"the indices of {count:,} pairs, pairs='{pairs}', take"):
        synkern.phiid(series, pairs=pairs, groups=groups)


def test_atoms_of_two_groups_are_refused_before_their_pairs_are_listed(little, rng):
    """35 MB of atoms fit, and 71 MB of a list, but not both."""
    series = rng.standard_normal((40, 4200))
    groups = [range(2100), range(2100, 4200)]
    options = {"atoms": "sts", "dtype": "float32"}
    tracemalloc.start()
    with pytest.raises(MemoryError, match="1 atoms of 4,410,000 pairs x 1 trials take 0.1 GB"):
        synkern.phiid(series, pairs="bipartite", groups=groups, **options)
    assert tracemalloc.get_traced_memory()[1] < 30e6
    tracemalloc.stop()


def test_matrices_of_moments_are_refused_before_they_are_made(little, rng):
    gathered = synkern.LaggedMoments(tau=[1, 2])
    said = "moments of 1,300 nodes x 1 trials x 2 lags take 0.1 GB.*phiid_nodes"
    with pytest.raises(MemoryError, match=said):
        gathered.update(rng.standard_normal((70, 1300)))


def test_what_fits_goes_on(little, rng):
    series = rng.standard_normal((1, 40, 300))
    assert synkern.phiid(series, atoms="all")["sts"].shape == (300, 300)
    assert synkern.phiid(rng.standard_normal((41, 3000)), pairs=[[0, 1]])["sts"].shape == (1,)


def test_every_sample_of_many_pairs_is_refused(little, rng):
    pairs = np.argwhere(~np.eye(100, dtype=bool))
    with pytest.raises(MemoryError, match="16 atoms of 9,900 pairs x 1 trials x 99 samples take"):
        synkern.phiid_local(rng.standard_normal((100, 100)), pairs)


def test_null_tests_ask_for_their_tallies(little, rng):
    with pytest.raises(MemoryError, match="tests of 16 atoms of 250 nodes take 0.1 GB"):
        synkern.null_test(rng.standard_normal((5, 40, 250)), atoms="all", n=19)


def test_control_groups_are_read(tmp_path, monkeypatch):
    """Each group above counts; files in memory can be given back."""
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    for folder, limit, used in ((inner, "max", 5), (inner.parent, "3000", 1000)):
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text(f"{used}\n")
        (folder / "memory.stat").write_text("anon 900\ninactive_file 70\n")
    files = [
        tuple(folder / name for name in ("memory.max", "memory.current", "memory.stat"))
        for folder in (inner, inner.parent, tmp_path)
    ]
    monkeypatch.setattr(_memory, "_groups", lambda: iter(files))
    assert 2070 in list(_memory._host())
    assert _memory.available() == 2070


LIMITED = """
import resource, numpy as np, synkern, warnings
warnings.simplefilter("ignore")
synkern.phiid(np.random.default_rng(0).standard_normal((40, 5)))
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + 10**9,) * 2)
try:
    synkern.phiid(np.random.default_rng(0).standard_normal((8, 12000)))
except MemoryError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's here")
def test_a_limit_of_the_process_counts():
    done = subprocess.run(
        [sys.executable, "-c", LIMITED], capture_output=True, text=True, check=True
    )
    assert "144,000,000 pairs x 1 trials take 3.5 GB" in done.stdout
