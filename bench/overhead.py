"""What the lab adds to the same QEMU line started by hand.

Interleaved pairs of one guest on this machine: once as the lab starts it, once by nothing but
``subprocess`` and two sockets. Measured until QMP greets and until the guest's agent answers.
"""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from os import environ
from pathlib import Path

from bench.figures import Row, at_most, difference, row
from bench.places import Here, here, started
from lab.guest.qemu import render
from lab.rundir import open_rundir

TITLE = "the lab beside the same QEMU line by hand"
PAIRS = 10
_MOST_SECONDS = 0.1
_BOOT_SECONDS = 300.0


def run() -> Iterator[Row]:
    """Seconds by the lab, by hand, and how much more the lab takes."""
    with open_rundir() as rundir:
        where = here(rundir)
        pairs = [(_by_lab(where, rundir), _by_hand(where, rundir)) for _ in range(PAIRS)]
    for index, end in enumerate(("QMP greets", "the guest answers")):
        yield row(f"lab, until {end}", "s", [lab[index] for lab, _ in pairs])
        yield row(f"by hand, until {end}", "s", [hand[index] for _, hand in pairs])
        more = difference(
            f"more by the lab, until {end}",
            "s",
            [(lab[index], hand[index]) for lab, hand in pairs],
        )
        yield at_most(more, _MOST_SECONDS)


def _by_lab(where: Here, folder: Path) -> tuple[float, float]:
    began = time.monotonic()
    with started(where, folder) as guest:
        greeted = time.monotonic() - began
        guest.wait_ready()
        return greeted, time.monotonic() - began


def _by_hand(where: Here, folder: Path) -> tuple[float, float]:
    began = time.monotonic()
    with ExitStack() as stack:
        pairs = {name: socket.socketpair() for name in ("qmp", "agent")}
        fds = {name: pair[1].fileno() for name, pair in pairs.items()}
        argv = render(where.plan.argv, fds, {}, {"console": folder / "console.log"})
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            env={**environ, **where.facts.qemu_env},
            pass_fds=tuple(fds.values()),
        )
        stack.callback(process.wait)
        stack.callback(process.kill)
        for ours, theirs in pairs.values():
            theirs.close()
            stack.enter_context(ours).settimeout(_BOOT_SECONDS)
        _line(pairs["qmp"][0])
        greeted = time.monotonic() - began
        question = {"execute": "guest-sync", "arguments": {"id": 1}}
        pairs["agent"][0].sendall(json.dumps(question).encode() + b"\n")
        _line(pairs["agent"][0])
        return greeted, time.monotonic() - began


def _line(sock: socket.socket) -> bytes:
    """One line. Raises ConnectionError where QEMU ends instead."""
    text = b""
    while not text.endswith(b"\n"):
        part = sock.recv(65536)
        if not part:
            raise ConnectionError("QEMU closed its socket")
        text += part
    return text
