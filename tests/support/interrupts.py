"""Ctrl-C at every line of some modules, one after the other."""

import contextlib
import itertools
import signal
import sys


class _Watch:
    """Ctrl-C at one line of those that are run of some files, by number."""

    def __init__(self, line, files):
        self.line, self.files, self.run = line, files, itertools.count()

    def trace(self, frame, event, _):
        if frame.f_code.co_filename not in self.files:
            return None
        if event == "line" and next(self.run) == self.line:
            signal.raise_signal(signal.SIGINT)
        return self.trace

    @contextlib.contextmanager
    def on(self):
        usual = sys.gettrace()
        try:
            sys.settrace(self.trace)
            yield
        finally:
            sys.settrace(usual)

    @contextlib.contextmanager
    def off(self):
        """What is run inside does not count."""
        sys.settrace(None)
        yield
        sys.settrace(self.trace)

    @property
    def went_off(self):
        return next(self.run) > self.line


def interrupted_everywhere(block, *modules):
    """Yield after each interrupt of a block the number of the line it came at, from 0 on.

    Args:
        block: called with a context manager inside which lines do not count.
        modules: whose lines count.

    Raises:
        AssertionError: an interrupt did not leave the block.
    """
    files = [module.__file__ for module in modules]
    for line in itertools.count():
        watch = _Watch(line, files)
        try:
            with watch.on():
                block(watch.off)
        except KeyboardInterrupt:
            yield line
        else:
            assert not watch.went_off, f"the interrupt at line {line} was swallowed"
            return
