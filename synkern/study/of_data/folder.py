"""The folder of a decomposition of data: kept and locked as that of a study, under other names."""

from __future__ import annotations

from typing import Any, ClassVar

from synkern.study.folder import StudyFolder

PAGE = "report.html"
NODES, PAIRS = "nodes.csv", "pairs.csv"
PARQUET, NETCDF, ZARR = "pairs.parquet", "result.nc", "result.zarr"


class DataFolder(StudyFolder):
    """`result.npz` holds arrays and, under `metadata`, what `result.json` shows to readers."""

    called: ClassVar[str] = "decomposition"
    stem: ClassVar[str] = "result"
    form: ClassVar[dict[str, Any]] = {"format": "synkern decomposition", "format_version": 1}
    earlier: ClassVar[int | None] = None
