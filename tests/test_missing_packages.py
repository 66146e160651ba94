"""Commands where a package of an extra is not installed: one line that names it and the extra."""

import os
import subprocess
import sys

import pytest

import synkern
from synkern.study import COMMANDS

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


@pytest.mark.parametrize("package", ["torch", "transformers", "tqdm", "matplotlib", "jinja2"])
def test_what_works_on_studies_names_the_package_that_is_missing(package, tmp_path):
    commands = [command.name for command in COMMANDS]
    if package != "transformers":  # which reading needs not
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
