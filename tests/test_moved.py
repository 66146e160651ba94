"""Which tests `make compat-newest` runs: too few would call a library tried that was not."""

import pytest

from support.moved import locked, moved, selection

LOCK = """# written by make lock
numpy==2.4.6
torch==2.13.0
triton==3.7.1 ; sys_platform == 'linux' or sys_platform == 'win32' or sys_platform == 'darwin'
zarr==3.1.6 ; python_full_version < '3'
zarr==3.4.2 ; python_full_version >= '3'
Typing_Extensions==4.15.0
"""
INSTALLED = {
    **{"numpy": "2.4.6", "torch": "2.13.0+cpu", "triton": "3.7.1", "zarr": "3.4.2"},
    **{"typing-extensions": "4.15.0", "pip": "99", "synkern": "0"},
}


def test_lines_of_other_machines_and_local_builds_have_not_moved():
    assert moved(locked(LOCK), INSTALLED) == []


@pytest.mark.parametrize(
    ("changed", "arguments"),
    [
        ({}, ["-k", "(packaging)"]),
        ({"triton": "3.9.0"}, ["-k", "(triton)"]),
        ({"numpy": "2.5.0"}, []),
        ({"triton": "3.9.0", "numpy": "2.5.0"}, []),
        ({"a-new-dependency": "1.0"}, []),
    ],
)
def test_all_are_run_unless_few_meet_what_moved(changed, arguments):
    assert selection(moved(locked(LOCK), INSTALLED | changed)) == arguments
