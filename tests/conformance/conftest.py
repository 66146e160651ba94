"""Every test here that takes `backend` runs on every backend of the registry."""

from collections.abc import Iterator
from typing import Any

import pytest

from support.backends import BACKENDS, INTERPRETED, running
from support.golden import GoldenCase


def pytest_configure(config: pytest.Config) -> None:
    for line in (
        "brief: short enough for kernels that are interpreted",
        "many_tiles: hundreds of tiles of one pair, too many for kernels that are interpreted",
    ):
        config.addinivalue_line("markers", line)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What an interpreter takes long for is a proof, and what it takes minutes for is left out."""
    for item in items:
        if "triton" in item.nodeid:  # Of triton 3.6's interpreter, about itself.
            said = "ignore:Conversion of an array:DeprecationWarning"
            item.add_marker(pytest.mark.filterwarnings(said))
        params = item.callspec.params if hasattr(item, "callspec") else {}
        if params.get("backend") not in INTERPRETED or item.get_closest_marker("brief"):
            continue
        item.add_marker(pytest.mark.proof)
        why = f"{params['backend']}, interpreted, takes minutes for"
        if item.get_closest_marker("many_tiles"):
            reason = f"{why} hundreds of tiles: test_duplicates has nodes side by side"
            item.add_marker(pytest.mark.skip(reason=reason))
        elif _goes_from_sample_to_sample(params):
            reason = f"{why} CCS of 80 samples and more: its own suite has short series"
            item.add_marker(pytest.mark.skip(reason=reason))


def _goes_from_sample_to_sample(params: dict[str, object]) -> bool:
    case = params.get("case", params.get("variant"))
    if isinstance(case, GoldenCase):
        return (case.kind, case.redundancy) == ("gaussian", "CCS") and len(case.series) >= 80
    return params.get("redundancy") == "CCS" and params.get("kind", "gaussian") == "gaussian"


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Any:
    """What a backend says that it does not compute is left out; see test_backend_refusals."""
    try:
        return (yield)
    except ValueError as error:
        params = pyfuncitem.callspec.params if hasattr(pyfuncitem, "callspec") else {}
        if str(error).startswith(f"backend {params.get('backend')!r} does not "):
            pytest.skip(str(error).partition(";")[0])
        raise


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    with running(request.param) as name:
        yield name
