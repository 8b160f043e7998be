"""Signals that end a run, put off while something is made that must not be left behind."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


@contextmanager
def held() -> Iterator[None]:
    """Let Ctrl-C and its like wait until the end of the block.

    Blocking them would not do: another thread takes them then, and Python calls the handler in the
    main thread all the same. Handlers are the main thread's alone: in any other nothing is held,
    and nothing is interrupted.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def remember(number: int, _frame: FrameType | None) -> None:
        came.append(number)

    before = {}
    try:
        for ending in _ENDING:
            before[ending] = signal.signal(ending, remember)
        yield
    finally:
        for ending, handler in before.items():
            signal.signal(ending, handler)
        for number in dict.fromkeys(came):
            signal.raise_signal(number)
