"""Signals that wait until what must not be left behind is known."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

import pytest

from lab.signals import held


@pytest.fixture
def came() -> Iterator[list[int]]:
    """What the handler of SIGTERM has heard."""
    heard: list[int] = []

    def hear(number: int, _frame: FrameType | None) -> None:
        heard.append(number)

    before = signal.signal(signal.SIGTERM, hear)
    yield heard
    signal.signal(signal.SIGTERM, before)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_comes_once_at_the_end(came: list[int]) -> None:
    with held():
        kill()
        kill()
        assert came == []
    assert came == [signal.SIGTERM]
    kill()
    assert came == [signal.SIGTERM] * 2


def test_one_that_another_thread_takes_waits_too(came: list[int]) -> None:
    """A thread that draws is always there on a terminal."""
    with held():
        thread = threading.Thread(target=lambda: signal.pthread_kill(threading.get_ident(), 15))
        thread.start()
        thread.join()
        assert came == []
    assert came == [signal.SIGTERM]


def test_blocks_may_lie_in_each_other(came: list[int]) -> None:
    with held():
        with held():
            kill()
        assert came == []
    assert came == [signal.SIGTERM]


def test_what_was_ignored_stays_so(came: list[int]) -> None:
    handler = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with held():
        kill()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    signal.signal(signal.SIGTERM, handler)
    assert came == []


def test_an_error_in_the_block_is_not_lost(came: list[int]) -> None:
    def fail() -> None:
        with held():
            kill()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert came == [signal.SIGTERM]


def test_in_another_thread_nothing_is_held() -> None:
    done: list[bool] = []

    def work() -> None:
        with held():
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]
