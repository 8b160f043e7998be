"""Signals wait for the end of a block, whichever thread the kernel gives them to."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

import pytest

from lab.signals import held

ENDING = [signal.SIGHUP, signal.SIGINT, signal.SIGTERM]


def interrupt(number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)


def work(number: signal.Signals, done: list[str]) -> None:
    with held():
        os.kill(os.getpid(), number)
        done.append("all of it")


def fail() -> None:
    with held():
        os.kill(os.getpid(), signal.SIGINT)
        raise ValueError("left behind")


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.signal(number, interrupt) for number in ENDING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_comes_after_the_block(number: signal.Signals) -> None:
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt, match=number.name):
        work(number, done)
    assert done
    assert signal.getsignal(number) is interrupt


def test_other_threads_change_nothing() -> None:
    """A mask would let the signal through here: the thread has none."""
    done: list[str] = []
    quit_ = threading.Event()
    other = threading.Thread(target=quit_.wait)
    other.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            work(signal.SIGINT, done)
    finally:
        quit_.set()
        other.join()
    assert done


def test_an_error_of_the_block_is_what_is_told() -> None:
    with pytest.raises(ValueError, match="left behind"):
        fail()
    assert signal.getsignal(signal.SIGINT) is interrupt


def test_what_was_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with held():
        os.kill(os.getpid(), signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_another_thread_may_call_it() -> None:
    done = []

    def hold() -> None:
        with held():
            done.append("all of it")

    other = threading.Thread(target=hold)
    other.start()
    other.join()
    assert done
