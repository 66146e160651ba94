"""`synkern.kernels` is importable however synkern is had, and hides no other `kernels`."""

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

import synkern
from synkern._faces import _MOVED

ROOT = Path(__file__).parent.parent
DEPENDENCIES = sysconfig.get_path("purelib")

DECOMPOSE = """
import numpy, synkern, synkern.kernels, synkern.kernels.lattice
result = synkern.phiid(numpy.random.default_rng(0).standard_normal((50, 3)))
assert result["sts"].shape == (3, 3)
print(synkern.kernels.lattice.__file__)
"""


def run_python(code: str, *path: Path, cwd: Path) -> str:
    """Output of code run with these on the import path, without this environment's synkern.

    `-S` keeps `.pth` files, and with them an editable install, from being read.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, path), DEPENDENCIES])}
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def pip(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", *map(str, arguments), "--no-deps", "--quiet"]
    done = subprocess.run(
        [*command, "--no-build-isolation", "--disable-pip-version-check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of what the package is built from."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("synkern", "kernels"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "Makefile", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    return folder


def test_bare_checkout(checkout):
    assert run_python(DECOMPOSE, cwd=checkout) == str(checkout / "kernels" / "lattice.py")


def test_wheel(checkout, tmp_path):
    pip("wheel", checkout, "--wheel-dir", tmp_path / "dist")
    (wheel,) = (tmp_path / "dist").glob("synkern-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"synkern/kernels/lattice.py", "synkern/kernels/triton_backend/op.py"} <= set(names)
    assert {
        "synkern/kernels/cupy_backend/probe.py",
        "synkern/kernels/native/device/kernels.cuh",
        "synkern/kernels/native/host/host.cpp",
    } <= set(names)
    assert not [name for name in names if name.startswith(("kernels/", "tests/", "bench/"))]
    device = {path.name for path in (ROOT / "kernels" / "native" / "device").iterdir()}
    assert {f"synkern/kernels/native/device/{name}" for name in device} <= set(names)
    page = ("explore.html.jinja", "style.css", "widgets.css", "start.js")
    explorer = [f"study/explorer/page/{name}" for name in page]
    report = "study/report/templates/report.html.jinja"
    for data in ("study/prompts.json", report, *explorer, "py.typed"):
        assert f"synkern/{data}" in names
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"synkern"}

    pip("install", wheel, "--target", tmp_path / "site")
    found = run_python(DECOMPOSE, tmp_path / "site", cwd=tmp_path)
    assert found == str(tmp_path / "site" / "synkern" / "kernels" / "lattice.py")
    backends = "from synkern.cli import main; main(['backends'])"
    assert "numpy" in run_python(backends, tmp_path / "site", cwd=tmp_path)


def test_source_archive_gives_the_same_wheel(checkout, tmp_path):
    build = f"from hatchling.build import build_sdist; print(build_sdist({str(tmp_path)!r}))"
    archive = tmp_path / run_python(build, cwd=checkout)
    with tarfile.open(archive) as files:
        held = {name.partition("/")[2] for name in files.getnames()}
    assert {"Makefile", "requirements.lock", "pyproject.toml", "synkern/py.typed"} <= held
    pip("wheel", archive, "--wheel-dir", tmp_path / "from_archive")
    pip("wheel", checkout, "--wheel-dir", tmp_path / "from_checkout")
    first, second = (
        sorted(zipfile.ZipFile(wheel).namelist()) for wheel in sorted(tmp_path.glob("from*/*.whl"))
    )
    assert first == second


def test_type_checkers_see_every_public_name_at_its_home():
    tree = ast.parse((ROOT / "synkern" / "__init__.py").read_text("utf-8"))
    seen = {}
    for block in (node for node in tree.body if isinstance(node, ast.If)):
        for node in block.body:
            if isinstance(node, ast.ImportFrom):
                seen |= {name.name: node.module.removeprefix("synkern.") for name in node.names}
    assert seen == synkern._HOMES
    (listed,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    assert sorted(seen) == sorted(listed)
    of_models = {"Node", "Recording", "record", "replay"}
    of_models |= {"AblationCurve", "ablate", "ablation_curve", "perturb", "training_mask"}
    assert {*listed} - {*synkern.__all__} <= of_models


def test_editable_install(checkout, tmp_path):
    # --ignore-installed: or pip would uninstall the synkern of this environment.
    pip("install", "--ignore-installed", "--editable", checkout, "--prefix", tmp_path / "prefix")
    (site,) = (tmp_path / "prefix").glob("**/site-packages")
    # In front, or its `.pth` file would import the finder of this environment's own install.
    activate = f"import site, sys; sys.path[:0] = [{str(site)!r}]; site.addsitedir(sys.path[0])\n"
    found = run_python(activate + DECOMPOSE, cwd=tmp_path)
    assert found == str(checkout / "kernels" / "lattice.py")


def test_hugging_face_kernels_is_importable_from_the_root(request):
    if request.config.getoption("without_torch"):
        pytest.skip("nothing here imports it")
    found = run_python("import kernels; print(kernels.__file__, kernels.__version__)", cwd=ROOT)
    assert found.startswith(DEPENDENCIES)
    # Both at once, as transformers and synkern do in one process.
    both = (
        "import kernels, synkern.kernels; print(kernels.__file__); print(synkern.kernels.__path__)"
    )
    hub, ours = run_python(both, cwd=ROOT).splitlines()
    assert hub.startswith(DEPENDENCIES)
    assert ours == str([str(ROOT / "kernels")])


def test_importing_synkern_is_light():
    heavy = {"torch", "numpy", "transformers", "matplotlib", "cupy", "triton"}
    code = f"import sys, synkern; print({heavy} & set(sys.modules))"
    assert run_python(code, cwd=ROOT) == "set()"


def test_threads_may_be_the_first_to_ask_for_names():
    """`synkern.kernels` says at run time that it is a package: before it does, it is none."""
    code = """
import sys, synkern
assert hasattr(sys.modules["synkern.kernels"], "__path__")
import threading
failed, names = [], sorted(synkern.__all__)
start = threading.Barrier(len(names))
def ask(name):
    start.wait()
    try:
        getattr(synkern, name)
    except BaseException as error:
        failed.append((name, error))
threads = [threading.Thread(target=ask, args=[name]) for name in names]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(failed)"""
    assert run_python(code, cwd=ROOT) == "[]"


def test_every_public_name_is_found_when_it_is_used():
    code = """
import synkern
listed = set(dir(synkern))
for name in synkern.__all__:
    assert name in listed, name
    value = getattr(synkern, name)
    home = getattr(value, "__module__", "synkern")
    assert home.startswith("synkern"), (name, home)
assert synkern.decomposition.MEASURES and synkern.decomposition.PREPROCESSING
for wrong in ("no_such_name", "_HOME", "measures.no_such_name", "no.module", ""):
    try:
        getattr(synkern, wrong)
    except AttributeError as error:
        assert wrong in str(error)
    else:
        raise AssertionError(wrong)
"""
    run_python(code, cwd=ROOT)


@pytest.mark.parametrize("old", sorted(_MOVED))
def test_what_moved_says_where_it_is_now(old):
    package, _, name = old.rpartition(".")
    said = rf"{old} is now in (\S+): from \1 import"
    with pytest.raises(ImportError, match=said):
        importlib.import_module(old)
    with pytest.raises(ImportError, match=said):
        exec(f"from {package} import {name}", {})
    whole = importlib.import_module(package)
    with pytest.raises(AttributeError, match=said):
        getattr(whole, name)
    assert not hasattr(whole, name)
    assert name not in dir(whole)
    assert importlib.util.find_spec(_MOVED[old])


def test_modules_of_old_are_known_by_their_names():
    for old, home in {
        "attention": "models",
        "backends": "decomposition",
        "decompose": "decomposition",
        "dropin": "decomposition",
        "local": "decomposition",
        "masks": "decomposition",
        "measures": "decomposition",
        "moments": "decomposition",
        "recording.Node": "models",
    }.items():
        assert _MOVED[f"synkern.{old}"] == f"synkern.{home}"
    with pytest.raises(ImportError, match="cannot import name 'measure' from 'synkern'"):
        exec("from synkern import measure", {})
