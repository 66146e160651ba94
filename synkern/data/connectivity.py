"""`SynergyConnectivity`: the pairs of nodes of each subject as features, for scikit-learn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

import synkern._checks as check
from synkern._faces import MissingExtraError
from synkern._warnings import collected
from synkern.data.subjects import Subjects, subjects_of
from synkern.decomposition.asked import Options
from synkern.decomposition.decompose import phiid
from synkern.decomposition.measures import MEASURES
from synkern.decomposition.options import DType, Kind, Redundancy, Step
from synkern.decomposition.preprocess import PREPROCESSING
from synkern.kernels import ATOMS, swap_nodes

try:
    from sklearn.base import BaseEstimator, TransformerMixin
    from sklearn.utils.validation import check_array, check_is_fitted, validate_data
except ModuleNotFoundError as error:
    if error.name != "sklearn":
        raise
    said = "SynergyConnectivity needs scikit-learn: pip install 'synkern[sklearn]'"
    raise MissingExtraError(said, name="sklearn") from error

Floats = npt.NDArray[np.float64]

_DIFFERENCE = "difference"
_HELD = 1 << 25
"""Numbers of atoms of all pairs that are there at once: 256 MB."""


class SynergyConnectivity(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Integrated information decomposition of the pairs of nodes of each subject, as features.

    In the manner of nilearn's `ConnectivityMeasure`, for pipelines, searches and cross-validation:

        features = make_pipeline(SynergyConnectivity("sts"), StandardScaler(), LogisticRegression())
        cross_val_score(features, series, groups)  # series (subjects, time, nodes)

    Nothing is learnt from the values: `fit` keeps what the nodes are, so that no subject says
    anything of another one. Pairs without a value (a constant node, a future fixed by the past) are
    NaN, and a warning counts them: let `sklearn.impute.SimpleImputer` follow where there are some.

    There is no `discard_diagonal`, as a node makes no pair with itself: the diagonal of a matrix is
    NaN and not among the features.

    Args:
        measure: what of a pair becomes a feature: the name of an atom (`synkern.ATOMS`),
            "difference" (sts - rtr), the name of a sum of atoms (`synkern.decomposition.MEASURES`),
            "all" for the 16 atoms, or several names.
        tau: lag in samples.
        kind: "gaussian" or "discrete"; see `synkern.phiid`.
        redundancy: "MMI" or "CCS".
        preprocessing: names of `synkern.decomposition.PREPROCESSING`, in order, that change each
            series before; None: none.
        vectorize: True: (subjects, features), each pair of a symmetric measure once. False:
            matrices.
        n_nodes: None: X has subjects, time and nodes. A number: X may have two axes, and a row of
            it then is a subject, the series (time, n_nodes) one time point after the other; for
            what passes tables on, such as `ColumnTransformer`.
        node_names: a name for each node; None: those that X has (frames, xarray, `Dataset`), else
            numbers.
        allow_missing: whether NaN is a sample that is missing: it is left out for all nodes of its
            subject, as by the mask of `synkern.phiid`. Otherwise NaN is an error.
        backend: "auto", or a name that `synkern backends` lists.
        dtype: of the arithmetic, "float64" or "float32"; features are float64.

    Attributes:
        n_features_in_: length of the last axis of X: the number of nodes, or of columns of rows.
        n_nodes_: number of nodes.
        node_names_: a name for each node.
        feature_names_in_: names of the columns of rows, where X is such a frame.

    X, wherever it is asked for, is one of

    - (subjects, time, nodes): any kind of array that NumPy takes, or xarray with named axes;
    - (subjects, trials, time, nodes): atoms are means over the trials in which a pair has a value;
    - a list with a series for each subject, (time, nodes) or (trials, time, nodes), which may
      differ in length: arrays, frames of pandas or polars, Arrow tables, xarray, Raw or Epochs of
      MNE;
    - a `synkern.data.Dataset`, whose rows are its subjects in the order they come, or its trials
      where it has no subjects;
    - (subjects, time * nodes) with `n_nodes`.

    scikit-learn's own checks of estimators (`check_estimator`) send rows of two to ten numbers, too
    few for a series. They pass where each such row stands for a series made of it, except for those
    that `tests/datasets/test_connectivity_checks.py` lists with the reason.
    """

    def __init__(  # noqa: D107 (see the class)
        self,
        measure: str | Sequence[str] = "sts",
        *,
        tau: int = 1,
        kind: Kind = "gaussian",
        redundancy: Redundancy = "MMI",
        preprocessing: Step | Sequence[Step] | None = None,
        vectorize: bool = True,
        n_nodes: int | None = None,
        node_names: Sequence[Any] | None = None,
        allow_missing: bool = False,
        backend: str = "auto",
        dtype: DType = "float64",
    ) -> None:
        self.measure = measure
        self.tau = tau
        self.kind = kind
        self.redundancy = redundancy
        self.preprocessing = preprocessing
        self.vectorize = vectorize
        self.n_nodes = n_nodes
        self.node_names = node_names
        self.allow_missing = allow_missing
        self.backend = backend
        self.dtype = dtype

    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the options and X, and keep what the nodes are.

        Args:
            X: see the class.
            y: not looked at.

        Raises:
            ValueError: an option or X that cannot be used; what `synkern.phiid` raises.
            TypeError: X does not hold real numbers.
        """
        measures, steps = _measures(self.measure), self._steps()
        options = self._options(measures)
        Options(**options)  # raises on unknown choices
        subjects = self._taken(X, fitting=True)
        # What is to be said of their length is said again where they are decomposed.
        with collected():
            subjects.check_length(check.lag(self.tau), lost=steps.count("difference"))
        self.n_nodes_ = subjects.series.shape[-1]
        self.node_names_ = subjects.named(self.node_names)
        return self

    def transform(self, X: Any) -> Any:
        """Decompose all pairs of each subject.

        Args:
            X: see the class; with the nodes that `fit` saw.

        Returns:
            (subjects, features) float64: by measure, then by pair; the pairs (i, j), i < j, row by
            row, or all i != j of a measure that has a direction (`get_feature_names_out` names
            them). With vectorize=False (subjects, nodes, nodes), or (subjects, measures, nodes,
            nodes) where `measure` is several; NaN on the diagonal, [i, j] having node i as x.

        Raises:
            ValueError, TypeError: as `fit`; other nodes.
            NotFittedError: before `fit`.
        """
        check_is_fitted(self)
        measures, steps = _measures(self.measure), self._steps()
        subjects = self._taken(X, fitting=False)
        vectors = np.concatenate(
            list(self._blocks(subjects, measures, steps)) or [np.empty((0, self._length(measures)))]
        )
        vectors = subjects.means(vectors)
        return vectors if self.vectorize else self._matrices(vectors, measures)

    def inverse_transform(self, X: Any) -> Floats:
        """Features, or weights of them, as matrices of the nodes.

        Args:
            X: (rows, features), or (features,) of one row, in the order of `get_feature_names_out`.

        Returns:
            (rows, nodes, nodes), or (rows, measures, nodes, nodes) where `measure` is several; NaN
            on the diagonal.

        Raises:
            ValueError: another number of features.
            NotFittedError: before `fit`.
        """
        check_is_fitted(self)
        rows = np.atleast_2d(check_array(X, ensure_2d=False, ensure_all_finite=False))
        measures = _measures(self.measure)
        expected = self._length(measures)
        if rows.ndim != 2 or rows.shape[1] != expected:
            raise ValueError(
                f"X must be (rows, {expected}), the features of {self.n_nodes_} nodes and "
                f"{len(measures)} measures; got shape {np.shape(X)}"
            )
        return self._matrices(np.asarray(rows, np.float64), measures)

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[np.object_]:
        """Name the features: "sts: A – B", and with an arrow from x to y where there is one.

        Args:
            input_features: names of the nodes in place of `node_names_`; of rows (`n_nodes`), the
                columns, which name no node and are only compared.

        Raises:
            ValueError: not one for each, or other columns than `fit` saw.
            NotFittedError: before `fit`.
        """
        check_is_fitted(self)
        names: Sequence[str] = self.node_names_
        if input_features is not None:
            given = [str(name) for name in input_features]
            seen = getattr(self, "feature_names_in_", None)
            if seen is not None and given != [*seen]:
                raise ValueError("input_features is not equal to feature_names_in_")
            if len(given) != self.n_features_in_:
                raise ValueError(
                    "input_features should have length equal to number of features "
                    f"({self.n_features_in_}), got {len(given)}"
                )
            names = given if self.n_features_in_ == self.n_nodes_ else names
        said = []
        for measure, coefficients in _measures(self.measure).items():
            between = "–" if _symmetric(coefficients) else "→"
            pairs = zip(*self._places(coefficients), strict=True)
            said += [f"{measure}: {names[i]} {between} {names[j]}" for i, j in pairs]
        return np.array(said, dtype=object)

    def __sklearn_tags__(self) -> Any:
        """Say to scikit-learn what X may be."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.two_d_array = self.n_nodes is not None
        tags.input_tags.allow_nan = bool(self.allow_missing)
        return tags

    def _steps(self) -> tuple[Step, ...]:
        given = self.preprocessing
        steps = () if given is None else (given,) if isinstance(given, str) else tuple(given)
        for step in steps:
            check.choice("preprocessing", step, tuple(PREPROCESSING))
        return steps

    def _options(self, measures: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
        """Those of `phiid`, all but the atoms by their names there."""
        needed = {atom for coefficients in measures.values() for atom in coefficients}
        return {
            "names": tuple(atom for atom in ATOMS if atom in needed),
            "kind": self.kind,
            "redundancy": self.redundancy,
            "backend": self.backend,
            "dtype": self.dtype,
        }

    def _taken(self, X: Any, *, fitting: bool) -> Subjects:
        found = subjects_of(X, allow_missing=self.allow_missing)
        if found is None:  # Two axes, or nothing that has any; scikit-learn has its words for that.
            finite: Any = "allow-nan" if self.allow_missing else True
            table = validate_data(self, X, reset=fitting, dtype="numeric", ensure_all_finite=finite)
            found = Subjects.of_rows(self._unflattened(table), self.allow_missing)
        elif fitting:
            self.n_features_in_ = found.series.shape[-1]
            if hasattr(self, "feature_names_in_"):
                del self.feature_names_in_
        elif found.series.shape[-1] != self.n_features_in_:
            raise ValueError(
                f"X has {found.series.shape[-1]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input: nodes, the last axis"
            )
        elif self.node_names is None and found.nodes not in (None, self.node_names_):
            raise ValueError(
                f"the nodes of X have other names than those of fit: {found.nodes} in place of "
                f"{self.node_names_}; put them in that order, or give node_names"
            )
        return found

    def _unflattened(self, table: Floats) -> Floats:
        """(subjects, time * nodes) as (subjects, time, nodes)."""
        subjects, columns = table.shape
        if self.n_nodes is None:
            raise ValueError(
                f"X has two axes, shape {table.shape}. One subject's series is [X]; several are "
                "(subjects, time, nodes), or a list of (time, nodes); and where a row is a "
                "subject's whole series, n_nodes= says how many nodes it has"
            )
        check.whole("n_nodes", self.n_nodes, 2)
        if columns % self.n_nodes:
            raise ValueError(
                f"X has {columns} columns, which are no whole number of time points of "
                f"{self.n_nodes} nodes (n_nodes)"
            )
        return table.reshape(subjects, columns // self.n_nodes, self.n_nodes)

    def _blocks(self, subjects: Subjects, measures: Any, steps: tuple[Step, ...]) -> Any:
        """Features of some trials at a time, (trials, features)."""
        options = self._options(measures)
        names = options.pop("names")
        at_once = max(1, _HELD // (subjects.series.shape[-1] ** 2 * len(names)))
        for start in range(0, len(subjects.series), at_once):
            series, mask = subjects.part(slice(start, start + at_once))
            for step in steps:
                change: Callable[..., Any] = PREPROCESSING[step]
                series = change(series, mask=mask)
                if step == "difference" and mask is not None:
                    mask = mask[:, 1:] & mask[:, :-1]
            result = phiid(series, tau=self.tau, mask=mask, atoms=names, average=None, **options)
            yield np.concatenate(
                [self._vector(result, coefficients) for coefficients in measures.values()], 1
            )

    def _vector(self, result: Mapping[str, Any], coefficients: Mapping[str, int]) -> Floats:
        rows, columns = self._places(coefficients)
        parts = [n * result[atom][:, rows, columns] for atom, n in coefficients.items()]
        return np.asarray(sum(parts), np.float64)

    def _places(self, coefficients: Mapping[str, int]) -> tuple[npt.NDArray[np.int64], ...]:
        """Rows and columns of the pairs of a measure that are features."""
        if _symmetric(coefficients):
            return np.triu_indices(self.n_nodes_, 1)
        return np.nonzero(~np.eye(self.n_nodes_, dtype=bool))

    def _length(self, measures: Mapping[str, Mapping[str, int]]) -> int:
        """Number of features."""
        return sum(len(self._places(coefficients)[0]) for coefficients in measures.values())

    def _matrices(self, vectors: Floats, measures: Mapping[str, Mapping[str, int]]) -> Floats:
        nodes, start = self.n_nodes_, 0
        matrices = np.full((len(vectors), len(measures), nodes, nodes), np.nan)
        for k, coefficients in enumerate(measures.values()):
            rows, columns = self._places(coefficients)
            values = vectors[:, start : start + len(rows)]
            matrices[:, k, rows, columns] = values
            if _symmetric(coefficients):
                matrices[:, k, columns, rows] = values
            start += len(rows)
        one = isinstance(self.measure, str) and len(measures) == 1
        return matrices[:, 0] if one else matrices


def _measures(measure: str | Sequence[str]) -> dict[str, Mapping[str, int]]:
    """Coefficients of the atoms, by measure, in the order asked for.

    Raises:
        ValueError: an unknown name, or none.
    """
    names = (measure,) if isinstance(measure, str) else tuple(measure)
    names = tuple(n for name in names for n in (ATOMS if name == "all" else (name,)))
    if not names:
        raise ValueError("measure must be a name or several; got none")
    known: dict[str, Mapping[str, int]] = {atom: {atom: 1} for atom in ATOMS}
    known |= {_DIFFERENCE: {"sts": 1, "rtr": -1}}
    known |= {name: found.atoms for name, found in MEASURES.items()}
    for name in names:
        check.choice("measure", name, ("all", *known))
    return {name: known[name] for name in names}


def _symmetric(coefficients: Mapping[str, int]) -> bool:
    """Whether the measure of a pair is the same whichever node comes first."""
    return {swap_nodes(atom): n for atom, n in coefficients.items()} == {**coefficients}
