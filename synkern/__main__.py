"""`python -m synkern` is the command `synkern`."""

import sys

from synkern.cli import main

if __name__ == "__main__":
    sys.exit(main())
