"""Commands where a package of an extra is not installed: one line that names it and the extra."""

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import synkern
from synkern.study import COMMANDS, MissingPackageError
from synkern.study.experiments import EXPERIMENTS
from synkern.study.provenance import EXTRAS_OF_EXPERIMENTS, check_packages

ROOT = Path(__file__).parent.parent

# Before anything of synkern is there: a package that is loaded already cannot go missing.
HIDING = """
import importlib.util, sys

hidden = sys.argv[1].split(",")
class Finder:
    def find_spec(name, *rest):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Finder)
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in hidden else find(name, *rest)

from synkern.cli import main
for line in sys.argv[2:]:
    print(main(line.split()))
"""


@pytest.mark.parametrize(
    "package", ["torch", "transformers", "tqdm", "matplotlib", "jinja2", "bokeh"]
)
def test_what_works_on_studies_names_the_package_that_is_missing(package, tmp_path):
    commands = [command.name for command in COMMANDS]
    if package not in ("transformers", "bokeh"):  # which a comparison needs not
        commands.append("compare one two")
    lines = [f"{name} --out {tmp_path / 'none'}" for name in commands]
    environment = os.environ | {"PYTHONPATH": os.path.dirname(os.path.dirname(synkern.__file__))}
    program = [sys.executable, "-c", HIDING, package, *lines]
    done = subprocess.run(program, capture_output=True, text=True, check=False, env=environment)
    errors = done.stderr.splitlines()
    assert len(errors) == len(commands)
    for error in errors:
        assert error.startswith("synkern: error: ")
        assert package in error
        assert "pip install" in error
    assert done.stdout == "1\n" * len(commands)


@pytest.mark.parametrize(
    ("extra", "package", "module"),
    [
        ("networks", "scipy", "scipy"),
        ("networks", "scikit-network", "sknetwork"),
        ("train", "trl", "trl"),
        ("train", "peft", "peft"),
        ("train", "datasets", "datasets"),
        ("train", "scipy", "scipy"),
    ],
)
def test_an_experiment_names_the_extra_that_brings_all_it_needs(
    extra, package, module, monkeypatch
):
    missing = {module}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *_: None if name in missing else "found"
    )
    said = (
        f"needs the package '{package}', of the extra '{extra}': pip install \"synkern[{extra}]\""
    )
    with pytest.raises(MissingPackageError, match=re.escape(said)):
        check_packages(EXTRAS_OF_EXPERIMENTS[extra])
    missing.clear()
    check_packages(EXTRAS_OF_EXPERIMENTS[extra])


def test_extras_bring_what_experiments_need():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for extra, packages in EXTRAS_OF_EXPERIMENTS.items():
        listed = project["optional-dependencies"][extra]
        assert {*packages} <= {re.match(r"[\w.-]+", said)[0] for said in listed}
    for experiment in EXPERIMENTS:
        assert any({*experiment.extra} <= {*brings} for brings in EXTRAS_OF_EXPERIMENTS.values())
