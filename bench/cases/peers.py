"""What a user could pick instead, on the same series: adapters, and what is written by hand today.

phyid is found in a checkout that `--phyid` or SYNKERN_PHYID names, and else imported. Nothing here
is how synkern computes all pairs, except that `torch.compile` and numba get its closed form; its
drop-in for phyid is here, as that goes pair by pair.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

import synkern
from bench.cases.contenders import Compute, Contender, Values
from bench.cases.shapes import TAU
from bench.cases.workloads import Workload
from synkern import ATOMS
from synkern.kernels.contract import smallest_trusted
from synkern.kernels.formulas import mmi
from synkern.kernels.formulas.estimators import STRICT
from synkern.kernels.lattice import zeta_matrix

PHYID = "SYNKERN_PHYID"
"""Environment variable with the path of a checkout of phyid."""

_GAUSSIAN_MMI = frozenset({"MMI rtr+sts", "MMI 16 atoms"})
_EVERY = _GAUSSIAN_MMI | {"CCS", "discrete"}

_HOW = {
    "phyid": "clone https://github.com/Imperial-MIND-lab/integrated-info-decomp and name the "
    f"checkout with --phyid or {PHYID}; it also needs scipy",
    "omegaid": "pip install omegaid, where the index carries it",
    "hoi": 'pip install "synkern[peers]"',
    "joblib": 'pip install "synkern[peers]"',
    "numba": 'pip install "synkern[peers]"',
}


def peers() -> list[Contender]:
    """All of them, installed or not."""
    return [
        _by_pair("phyid", _phyid, _EVERY, needs=("phyid",)),
        _by_pair("synkern.calc_PhiID", _drop_in, _EVERY),
        _by_pair("joblib over phyid", _joblib_phyid, _EVERY, needs=("phyid", "joblib")),
        _by_pair("omegaid", _omegaid, _GAUSSIAN_MMI | {"CCS"}, needs=("omegaid",)),
        replace(
            _by_pair("hoi", _hoi, {"MMI rtr+sts"}, ("hoi",), dtypes=("float32",)),
            about_zero=True,
            fixed=4096,
        ),
        _by_pair("NumPy loop", _numpy_loop, _GAUSSIAN_MMI),
        _all_pairs("torch.compile", _torch_compile, {"MMI rtr+sts"}, ()),
        _all_pairs("numba", _numba, _GAUSSIAN_MMI, ("numba",)),
    ]


def find_phyid(path: str | None = None) -> None:
    """Make a checkout of phyid importable, here and in the processes that are started from here.

    Raises:
        ValueError: the path holds no package phyid.
    """
    path = path or os.environ.get(PHYID)
    if not path:
        return
    package = Path(path).absolute() / "phyid"
    file = package / "__init__.py"
    if getattr(sys.modules.get("phyid"), "__file__", None) == str(file):
        return
    if not file.is_file():
        raise ValueError(
            f"{path} is no checkout of phyid: it has no phyid/__init__.py; {_HOW['phyid']}"
        )
    os.environ[PHYID] = path
    spec = importlib.util.spec_from_file_location(
        "phyid", file, submodule_search_locations=[str(package)]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules["phyid"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


def _obstacle(needs: Iterable[str]) -> Callable[[], str | None]:
    def obstacle() -> str | None:
        lacking = [name for name in needs if importlib.util.find_spec(name) is None]
        return "; ".join(f"{name} is not installed: {_HOW[name]}" for name in lacking) or None

    return obstacle


def _by_pair(
    name: str,
    compute: Callable[[Workload, str], Compute],
    workloads: Iterable[str],
    needs: tuple[str, ...] = (),
    dtypes: tuple[str, ...] = ("float64",),
) -> Contender:
    return Contender(
        name=name,
        compute=compute,
        values=_rows,
        workloads=frozenset(workloads),
        obstacle=_obstacle(needs),
        dtypes=dtypes,
        peer=True,
        all_pairs=False,
    )


def _all_pairs(
    name: str,
    compute: Callable[[Workload, str], Compute],
    workloads: Iterable[str],
    needs: tuple[str, ...],
) -> Contender:
    return Contender(
        name=name,
        compute=compute,
        values=lambda workload, found: dict(zip(workload.atoms, np.asarray(found), strict=True)),
        workloads=frozenset(workloads),
        obstacle=_obstacle(needs),
        dtypes=("float64",),
        peer=True,
    )


def _rows(workload: Workload, found: Any) -> Values:
    """Matrices of atoms from (pairs, atoms)."""
    return dict(zip(workload.atoms, np.asarray(found).T, strict=True))


# ---- Packages --------------------------------------------------------------------------------


def _phyid(workload: Workload, dtype: str) -> Compute:
    del dtype
    calculate = importlib.import_module("phyid.calculate")

    def call(series: np.ndarray, pairs: np.ndarray | None) -> np.ndarray:
        assert pairs is not None
        return _with_phyid(calculate, series[0], pairs, workload)

    return call


def _drop_in(workload: Workload, dtype: str) -> Compute:
    """phyid's call and return, by synkern, once `phiid` has been used on the machine."""
    del dtype
    synkern.phiid(np.random.default_rng(0).standard_normal((40, 2)))

    def call(series: np.ndarray, pairs: np.ndarray | None) -> np.ndarray:
        assert pairs is not None
        return _with_phyid(synkern, series[0], pairs, workload)

    return call


def _with_phyid(
    calculate: Any, trial: np.ndarray, pairs: np.ndarray, workload: Workload
) -> np.ndarray:
    found = np.empty((len(pairs), len(workload.atoms)))
    with np.errstate(divide="ignore", invalid="ignore"):  # of states that do not occur
        for k, (i, j) in enumerate(pairs):
            atoms, _ = calculate.calc_PhiID(
                trial[:, i], trial[:, j], TAU, workload.kind, workload.redundancy
            )
            found[k] = [atoms[atom].mean() for atom in workload.atoms]
    return found


def phyid_chunk(trial: np.ndarray, pairs: np.ndarray, workload: Workload) -> np.ndarray:
    """What a process of joblib does."""
    find_phyid()
    return _with_phyid(importlib.import_module("phyid.calculate"), trial, pairs, workload)


def _joblib_phyid(workload: Workload, dtype: str) -> Compute:
    """All cores, a chunk of pairs a task, one thread of linear algebra in each process."""
    del dtype
    joblib = importlib.import_module("joblib")
    cores = joblib.cpu_count()

    def call(series: np.ndarray, pairs: np.ndarray | None) -> np.ndarray:
        assert pairs is not None
        chunks = np.array_split(pairs, min(len(pairs), 4 * cores))
        with joblib.parallel_config("loky", n_jobs=cores, inner_max_num_threads=1):
            found = joblib.Parallel()(
                joblib.delayed(phyid_chunk)(series[0], chunk, workload) for chunk in chunks
            )
        return np.concatenate(found)

    return call


def _omegaid(workload: Workload, dtype: str) -> Compute:
    """The form for two series, by the call that its documentation shows."""
    del dtype
    decomposition = importlib.import_module("omegaid.core.decomposition")

    def call(series: np.ndarray, pairs: np.ndarray | None) -> np.ndarray:
        assert pairs is not None
        return _with_phyid(decomposition, series[0], pairs, workload)

    return call


def _hoi(workload: Workload, dtype: str) -> Compute:
    """A call an atom, as it sums those it is asked for, each compiled anew; float32 bits.

    Of its methods "gauss" is nearest: it takes moments about zero, and its default, "gc", those of
    ranks. Neither gives phyid's numbers.
    """
    del dtype
    metrics = importlib.import_module("hoi.metrics")

    def call(series: np.ndarray, pairs: np.ndarray | None) -> np.ndarray:
        assert pairs is not None
        model = metrics.AtomsPhiID(series[0], multiplets=pairs.tolist(), verbose=False)
        bits = [model.fit(method="gauss", tau=TAU, atoms=[atom])[:, 0] for atom in workload.atoms]
        return np.stack(bits, -1) * np.log(2)

    return call


# ---- By hand ---------------------------------------------------------------------------------


def _numpy_loop(workload: Workload, dtype: str) -> Compute:
    """A loop over pairs with determinants of NumPy, as one writes it with the paper in hand."""
    del dtype
    inverse = np.linalg.inv(zeta_matrix())[[ATOMS.index(atom) for atom in workload.atoms]]
    sets = {"x": [0], "y": [1], "xy": [0, 1], "a": [2], "b": [3], "ab": [2, 3]}
    past = {"r": ("x", "y"), "x": ("x",), "y": ("y",), "s": ("xy",)}
    future = {"r": ("a", "b"), "x": ("a",), "y": ("b",), "s": ("ab",)}

    def pair(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        correlation = np.corrcoef([x[:-TAU], y[:-TAU], x[TAU:], y[TAU:]])

        def entropy(index: list[int]) -> float:
            return 0.5 * float(np.linalg.slogdet(correlation[np.ix_(index, index)])[1])

        alone = {name: entropy(index) for name, index in sets.items()}
        information = {
            (u, v): alone[u] + alone[v] - entropy(sets[u] + sets[v])
            for u in ("x", "y", "xy")
            for v in ("a", "b", "ab")
        }
        least = [
            min(information[u, v] for u in past[atom[0]] for v in future[atom[2]]) for atom in ATOMS
        ]
        return inverse @ least

    def call(series: np.ndarray, pairs: np.ndarray | None) -> np.ndarray:
        assert pairs is not None
        return np.array([pair(series[0][:, i], series[0][:, j]) for i, j in pairs])

    return call


def _moments(trial: np.ndarray) -> tuple[np.ndarray, ...]:
    """Correlations of a trial (time, nodes): past, future, past with future, own."""
    sides = []
    for side in (trial[:-TAU], trial[TAU:]):
        centred = side - side.mean(0)
        sides.append(centred / np.sqrt((centred * centred).sum(0)))
    past, future = sides
    lagged = past.T @ future
    return past.T @ past, future.T @ future, lagged, np.diagonal(lagged).copy()


@cache
def _compiled() -> Any:
    def atoms(xy: Any, ab: Any, lagged: Any, own: Any, limit: float) -> torch.Tensor:
        c = mmi.Correlations(xy, ab, own[:, None], lagged, lagged.mT, own[None, :])
        v, variance = mmi.lambdas(torch, c)
        found = mmi.atoms(torch, v, ("rtr", "sts"))
        return torch.stack([torch.where(variance >= limit, atom, 0.0) for atom in found])

    return torch.compile(atoms, dynamic=True)


def _torch_compile(workload: Workload, dtype: str) -> Compute:
    """The closed form of backend torch, fused by torch over whole matrices, trial by trial."""
    del dtype
    assert workload.atoms == ("rtr", "sts")

    def call(series: np.ndarray, pairs: np.ndarray | None) -> np.ndarray:
        del pairs
        limit = smallest_trusted(series.shape[1] - TAU, "float64", STRICT["float64"])
        total: Any = 0
        for trial in series:
            moments = [torch.from_numpy(m) for m in _moments(trial)]
            total = total + _compiled()(*moments, limit)
        return np.asarray(total / len(series))

    return call


def _numba(workload: Workload, dtype: str) -> Compute:
    """All pairs in parallel loops, products by BLAS: the closed form as a kernel engineer would."""
    del dtype
    kernels = importlib.import_module("bench.cases.numba_kernels")
    atoms = len(workload.atoms)

    def call(series: np.ndarray, pairs: np.ndarray | None) -> np.ndarray:
        del pairs
        nodes = series.shape[2]
        total = np.zeros((atoms, nodes, nodes))
        for trial in series:
            add = kernels.add_two if atoms == 2 else kernels.add_all
            add(*_moments(trial), total)
        total = total + (total.swapaxes(1, 2) if atoms == 2 else total[_MIRROR].swapaxes(1, 2))
        return total / len(series)

    return call


_MIRROR = [ATOMS.index(atom.translate(str.maketrans("xy", "yx"))) for atom in ATOMS]
"""Place of the atom whose matrix is the transpose of each."""
