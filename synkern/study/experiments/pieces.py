"""What is done of an experiment so far, in a file: an interruption costs what is under way.

A line of JSON for each piece, appended as it is done; JSON of Python gives back every float to the
last bit. A process that is killed while it writes leaves part of a line, which is cut off when the
file is opened again. The folder of the study is locked, so nobody else writes.
"""

from __future__ import annotations

import json
import os
from collections import UserDict
from pathlib import Path
from typing import Any


class Kept(UserDict[str, Any]):
    """What pieces of work came to, by name; what is put in is on the disk."""

    def __init__(self, file: Path) -> None:
        """Read what an earlier run has left, if it did.

        Raises:
            OSError: the file cannot be read or written.
        """
        super().__init__()
        self._file = file
        if not file.exists():
            return
        whole = 0
        with file.open("rb") as opened:
            for line in opened:
                try:
                    # Where the machine itself went down, a line may have its end but not all else.
                    name, done = json.loads(line if line.endswith(b"\n") else b"")
                except ValueError:
                    break
                self.data[name] = done
                whole += len(line)
        os.truncate(file, whole)

    def __setitem__(self, name: str, done: Any) -> None:
        """Keep a piece.

        Raises:
            OSError: it cannot be written.
        """
        with self._file.open("ab") as opened:
            opened.write(json.dumps([name, done]).encode() + b"\n")
            opened.flush()
            os.fsync(opened.fileno())
        super().__setitem__(name, done)
