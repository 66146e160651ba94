"""What an installed synkern has to do with NumPy alone; run by `make smoke-wheel`."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import synkern

TYPED = """
import numpy as np
import synkern

result: synkern.PhiIDResult = synkern.phiid(np.zeros((50, 3)), tau=1, average=None)
name: str = synkern.long_name("sts")
synkern.phiid(np.zeros((50, 3)), kind="triangular")
"""


def main() -> None:
    home = Path(synkern.__file__)
    assert Path(sys.prefix) in home.parents, home
    series = np.random.default_rng(0).standard_normal((2, 60, 4))
    for kind, redundancy in (("gaussian", "MMI"), ("gaussian", "CCS"), ("discrete", "MMI")):
        found = synkern.phiid(series, kind=kind, redundancy=redundancy, backend="numpy")
        assert np.isfinite(found["sts"][0, 1])
    command = shutil.which("synkern", path=str(Path(sys.executable).parent))
    assert command is not None
    for arguments in (["--version"], ["--help"], ["backends"], ["--print-completion", "bash"]):
        done = subprocess.run([command, *arguments], capture_output=True, text=True, check=True)
        assert "synkern" in done.stdout or "numpy" in done.stdout, done
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "script.py"
        script.write_text(TYPED, "utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "mypy", "--strict", str(script)],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
    # The wrong word, and it alone, is seen: the types of the package are read.
    assert done.stdout.count("error:") == 1, done.stdout
    assert "triangular" in done.stdout, done.stdout
    print(f"{home.parent}: Python {sys.version.split()[0]}, NumPy {np.__version__}: ok")


if __name__ == "__main__":
    main()
