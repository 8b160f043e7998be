"""Ctrl-C and its like, held back while something is done that must not be left half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


@contextmanager
def held() -> Iterator[None]:
    """Let the signals that end a run wait for the end of the block, then do what they do.

    They are caught rather than blocked: a mask is a thread's own, and the kernel gives the signal
    to any thread that has none. An error of the block goes first, and is told in their place.
    Outside of the main thread, where Python runs no handlers, nothing is to be done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in _ENDING}
    try:
        for number in _ENDING:
            signal.signal(number, lambda which, _frame: came.append(which))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for which in came:
        signal.raise_signal(which)
