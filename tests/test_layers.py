"""Who may import whom: floors in kernels/, two towers in synkern/, and what each folder shows.

Imports are read, not run: at the top of a module, inside functions, for type checkers alone, and by
name (`importlib.import_module("...")`, `Later("...")`).
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from support import without_torch
from support.optional import needs_torch

ROOT = Path(__file__).parents[1]

GROUND = {
    f"_{name}"
    for name in (
        "arrays",
        "checks",
        "exact",
        "figures",
        "forks",
        "labelled",
        "locks",
        "memory",
        "names",
    )
}
GROUND |= {"_tensors", "_warnings"}
TOWERS = {"decomposition", "analysis", "scale", "models", "recording", "interventions", "training"}
TOWERS |= {"tasks", "data"}

# What the code of a place may import beside itself. "faces" is how names are shown, and the
# version; "door" what crosses from kernels/; "ground" the modules of synkern/ that know arrays,
# arguments, warnings and figures.
MAY_IMPORT = {
    "faces": set(),
    "door": {
        "faces",
        "backend",
        "contract",
        "lattice",
        "formulas",
        "engine",
        "backends",
        "registry",
    },
    "ground": {"faces", "door"},
    "decomposition": {"faces", "door", "ground"},
    "analysis": {"faces", "door", "ground", "decomposition"},
    "data": {"faces", "door", "ground", "decomposition"},
    "scale": {"faces", "door", "ground", "decomposition"},
    "models": {"faces", "door", "ground"},
    "recording": {"faces", "door", "ground", "models"},
    "tasks": {"faces", "door", "ground", "models"},
    "interventions": {"faces", "door", "ground", "models", "recording", "tasks"},
    "training": {"faces", "door", "ground", "models", "interventions", "tasks"},
    "study": {"faces", "door", "ground", "study.stages", "study.report", *TOWERS},
    "study.stages": {"faces", "door", "ground", "study", "study.report", *TOWERS},
    "study.report": {"faces", "door", "ground", "study", "analysis", "decomposition"},
    "command": {"faces", "door", "study", *TOWERS},
    # kernels/
    "contract": set(),
    "backend": {"contract"},
    "lattice": set(),
    "formulas": {"contract", "lattice"},
    "engine": {"backend", "contract", "lattice", "formulas"},
    "backends": {"backend", "contract", "lattice", "formulas", "engine"},
    "registry": {"backend", "backends"},
}

BELOW = {
    # A study is a loop over stages, and its pages are about its folder: these three are one place
    # to the rest, and may know each other.
    frozenset({"study", "study.stages"}),
    frozenset({"study", "study.report"}),
}


@cache
def modules() -> dict[str, ast.Module]:
    """By import name, `kernels.…` and `synkern.…`, what each file holds."""
    found = {}
    for path in sorted([*ROOT.glob("synkern/**/*.py"), *ROOT.glob("kernels/**/*.py")]):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text("utf-8"), str(path))
    return found


def is_package(name: str) -> bool:
    return (ROOT / Path(*name.split(".")) / "__init__.py").exists()


def imported(name: str) -> Iterator[str]:
    """Modules and names of them that a module imports, as `kernels.…`, `synkern.…` or others."""
    return imports_of(modules()[name], name)


def imports_of(tree: ast.Module, name: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            home = node.module or ""
            if node.level:
                parts = name.split(".") if is_package(name) else name.split(".")[:-1]
                parts = parts[: len(parts) - node.level + 1]
                home = ".".join([*parts, *([node.module] if node.module else [])])
            yield from (f"{home}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func
            by_name = getattr(called, "attr", getattr(called, "id", ""))
            if by_name in ("import_module", "Later") and isinstance(node.args[0].value, str):
                yield node.args[0].value


def place(name: str) -> str | None:
    """Where a module or a name of one is, by the table; None if not ours."""
    top, *rest = name.split(".")
    first = rest[0] if rest else ""
    if top == "kernels":
        return "backends" if first.endswith("_backend") else first
    if top != "synkern":
        return None
    if first == "kernels" and rest[1:] and rest[1] not in shown("synkern.kernels"):
        return "behind the door"
    if first == "study" and rest[1:2] in (["stages"], ["report"]):
        return f"study.{rest[1]}"
    places = {"kernels": "door", "_faces": "faces", "_version": "faces"}
    places |= dict.fromkeys(GROUND, "ground")
    return places.get(first, first if first in MAY_IMPORT else "command")


def backend_of(name: str) -> str:
    return name.split(".")[1]


@cache
def shown(name: str) -> frozenset[str]:
    """`__all__` of a module."""
    for node in modules()[name].body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return frozenset(ast.literal_eval(node.value))
    return frozenset()


def used() -> Iterator[tuple[str, str]]:
    """Every module of ours with everything of ours that it imports."""
    for name in modules():
        for other in imported(name):
            if place(other) is not None:
                yield name, other


def allowed(name: str, other: str) -> bool:
    own, where = place(name), place(other)
    ours, theirs = name.split(".", maxsplit=1)[0], other.split(".", maxsplit=1)[0]
    if (ours, theirs) == ("kernels", "synkern") or (ours != theirs and own != "door"):
        return False  # It is `synkern.kernels` to all but the door, and `kernels` knows none of us.
    if own == where == "backends":
        return backend_of(name) == backend_of(other)
    return where == own or where in MAY_IMPORT[own]


def test_every_import_is_one_that_the_table_allows():
    against = {(name, other) for name, other in used() if not allowed(name, other)}
    assert against == set()


def test_the_table_is_read_from_all_kinds_of_imports():
    """That the reading of imports sees what it is there for."""
    lines = {
        "import kernels.lattice": "kernels.lattice",
        "def f():\n    from synkern.analysis import scores": "synkern.analysis.scores",
        "if TYPE_CHECKING:\n    from ..contract import Pairs": "kernels.contract.Pairs",
        "from . import mmi": "kernels.formulas.mmi",
        "importlib.import_module('synkern.study')": "synkern.study",
        "torch = Later('torch')": "torch",
    }
    for line, expected in lines.items():
        assert list(imports_of(ast.parse(line), "kernels.formulas.ccs")) == [expected]
    assert place("synkern.kernels.formulas.mmi") == "behind the door"
    assert place("synkern.kernels.ATOMS") == "door"
    assert place("numpy") is None


def circle(edges: dict[str, set[str]]) -> dict[str, set[str]]:
    """What is left when all that needs nothing else is taken away, again and again."""
    while ends := {one for one, others in edges.items() if not others & edges.keys() - {one}}:
        edges = {one: others for one, others in edges.items() if one not in ends}
    return edges


def test_no_two_places_need_each_other():
    edges: dict[str, set[str]] = {}
    for name, other in used():
        if frozenset({place(name), place(other)}) not in BELOW:
            edges.setdefault(place(name), set()).add(place(other))
    assert circle(edges) == {}


def modules_needed() -> dict[str, set[str]]:
    """By module, the modules that it imports; a face holds nothing that its modules need."""
    edges: dict[str, set[str]] = {name: set() for name in modules()}
    for name, other in used():
        home = other if other in edges else other.rpartition(".")[0]
        if not is_package(name) and not is_package(home):
            edges[name].add(home)
    return edges


def test_no_two_modules_import_each_other():
    """For type checkers and inside functions too."""
    assert circle(modules_needed()) == {}


def test_a_circle_is_seen():
    assert circle({"a": {"b"}, "b": {"c"}, "c": set()}) == {}
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}).keys() == {"a", "b", "c"}


def home_of(path: str) -> str:
    """Where a name really is: a module may have it from another one."""
    module, _, name = path.rpartition(".")
    for node in modules()[module].body if module in modules() else ():
        if isinstance(node, ast.ImportFrom) and name in {alias.name for alias in node.names}:
            return f"{node.module}.{name}"
    return path


FACES = ["synkern", "synkern.kernels"] + [
    name for name in modules() if name.startswith("synkern.") and is_package(name) and shown(name)
]


@pytest.mark.parametrize("name", FACES)
def test_a_face_shows_the_same_names_to_everyone(name):
    """`__all__`, the table of homes, and what type checkers see, where they see it."""
    typed = {}
    lazy: dict[str, str] = {}
    for node in modules()[name].body:
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            for line in node.body:
                assert isinstance(line, ast.ImportFrom)
                typed |= {alias.name: f"{line.module}.{alias.name}" for alias in line.names}
    tables = {
        node.targets[0].id: node.value
        for node in modules()[name].body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)
    }
    (call,) = (
        node
        for node in ast.walk(modules()[name])
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "face"
    )
    own = "kernels" if name == "synkern.kernels" else name
    homes, *whole = (tables.get(getattr(table, "id", ""), table) for table in call.args[1:])
    lazy |= {key: f"{own}.{home}.{key}" for key, home in ast.literal_eval(homes).items()}
    if whole and name == "synkern.kernels":
        lazy |= {key: f"{own}.{home}" for key, home in ast.literal_eval(whole[0]).items()}
    assert sorted(typed) == sorted(shown(name))
    assert {key: home_of(path) for key, path in lazy.items()} == typed
    # Once it is imported, a module is what its package has under its name, whatever that was.
    assert not {f"{own}.{key}" for key in ast.literal_eval(homes)} & modules().keys()


def test_every_folder_of_synkern_has_a_face_or_is_inside_one_that_has():
    folders = {name for name in modules() if name.startswith("synkern.") and is_package(name)}
    assert {name for name in folders if name.count(".") == 1} <= set(FACES)
    assert not (ROOT / "kernels" / "__init__.py").exists()


def behind_a_face(name: str) -> bool:
    home, _, last = name.rpartition(".")
    return name not in FACES and last not in (shown(home) if home in FACES else ())


def test_the_command_imports_faces_only():
    others = set(imported("synkern.cli")) | set(imported("synkern.__main__"))
    found = {name for name in others if name.startswith("synkern.") and behind_a_face(name)}
    assert found == {"synkern.cli.main", "synkern._faces.MissingExtraError"}


def test_the_readme_imports_faces_only():
    text = (ROOT / "README.md").read_text("utf-8")
    blocks = [part.partition("```")[0] for part in text.split("```python\n")[1:]]
    assert blocks
    for block in blocks:
        for name in imports_of(ast.parse(block), "README"):
            assert not (name.startswith("synkern.") and behind_a_face(name)), name


@needs_torch
def test_a_recording_needs_no_decomposition():
    code = """
import sys
from synkern.recording import Recording, record, replay
found = [name for name in sys.modules if name.startswith("synkern.")]
numbers = {name.split(".")[1] for name in found} & {"decomposition", "analysis", "scale", "study"}
assert not numbers, numbers
"""
    done = without_torch.run(code, hide=False)
    assert done.returncode == 0, done.stderr


def test_no_folder_of_tests_is_taken_for_a_package():
    """pytest puts the folder of each test file on the path, where a folder in it is a package."""
    tests = ROOT / "tests"
    shadowed = {"cupy", "triton", "torch", "numpy", "kernels", "transformers"}
    on_path = {
        file.parent for file in tests.rglob("*.py") if file.name.startswith(("test_", "conf"))
    }
    found = {
        str(folder / name) for folder in on_path for name in shadowed if (folder / name).is_dir()
    }
    assert found == set()
