"""Ctrl-C kept back while a model is being changed, or put back."""

from __future__ import annotations

import signal
import threading
from typing import Any


class Interrupts:
    """Keeps Ctrl-C back for a while, where Python makes an exception of it: in the main thread."""

    def __init__(self) -> None:
        """Keep nothing back yet."""
        self._usual: Any = None
        self._came = False

    def hold(self) -> None:
        """Keep interrupts back until `release`."""
        if threading.current_thread() is threading.main_thread():
            usual = signal.getsignal(signal.SIGINT)
            if callable(usual) and usual != self._note:
                self._usual = usual
                signal.signal(signal.SIGINT, self._note)

    def let_through(self) -> None:
        """Let one through that came."""
        if self._came:
            self._came = False
            self._usual(signal.SIGINT, None)

    def release(self) -> None:
        """Keep none back any longer, and let one through that came."""
        if self._usual is not None:
            signal.signal(signal.SIGINT, self._usual)
        self.let_through()

    def _note(self, *_: Any) -> None:
        self._came = True
