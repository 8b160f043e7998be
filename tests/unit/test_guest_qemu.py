"""Starting and ending a QEMU: a small program that speaks QMP stands for it."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import cast

import pytest

from lab.errors import CannotError, StartError
from lab.guest import qemu
from lab.guest.qemu import cpu_states, render, start
from lab.host.host import Host
from lab.plan.data import Facts, Fd, GuestPlan, Place

FAKE = """
import json, os, socket, sys
qmp = socket.socket(fileno=int(sys.argv[1].split("=")[1]))
mode = sys.argv[2]
def say(**what):
    qmp.sendall(json.dumps(what).encode() + b"\\n")
version = {"qemu": {"major": 10, "minor": 0, "micro": 13}, "package": ""}
say(QMP={"version": version, "capabilities": []})
while data := qmp.recv(65536):
    request = json.loads(data)  # the client ends a request without a newline
    answers = {"query-kvm": {"enabled": True, "present": True}, "query-version": version}
    answers["human-monitor-command"] = sys.argv[3]
    if mode == "deaf" and request["execute"] == "quit":
        continue
    token = {"id": request["id"]} if "id" in request else {}
    say(**{"return": answers.get(request["execute"], {}), **token})
    if request["execute"] == "quit":
        sys.exit()
"""
REGISTERS = """
CPU#0
RAX=0000000000000000 RBX=0000000000000000
RIP=ffffffff8193f1cf RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1
ES =0000 0000000000000000 ffffffff 00c00000

CPU#1
EIP=0000fff0 EFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=0
"""
FACTS = Facts(
    place=Place.HERE,
    accelerator="kvm",
    qemu=(),
    qemu_env={},
    kernel="",
    initrd="",
    ports=(),
    tester="eth1",
    run="1",
)


class Inside:
    """A host of one namespace: that of the test."""

    def inside(self, _where: str) -> AbstractContextManager[None]:
        return nullcontext()


HOST = cast("Host", Inside())


def guest(*argv: str, fds: tuple[Fd, ...] = ()) -> GuestPlan:
    return GuestPlan(name="g1", argv=argv, fds=fds, nics=())


def fake(mode: str = "") -> GuestPlan:
    return guest(sys.executable, "-c", FAKE, "{chan:qmp}", mode, REGISTERS)


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_named_places_are_filled_in() -> None:
    argv = ("-chardev", "socket,{chan:qmp}", "file:{file:console}", "fds={fd:q0}:{fd:q1}", "{x}")
    files = {"console": Path("/run/c.log")}
    assert render(argv, {"qmp": 5}, {"q0": 7, "q1": 8}, files) == (
        "-chardev",
        "socket,fd=5",
        "file:/run/c.log",
        "fds=7:8",
        "{x}",
    )


def test_it_answers_then_ends_politely(tmp_path: Path) -> None:
    warnings: list[str] = []
    with start(fake(), FACTS, tmp_path, HOST, warnings.append) as started:
        assert started.qemu_version() == "10.0.13"
        assert started.evidence().accelerator == "kvm"
        assert os.getsid(started.pid) == started.pid
    assert not alive(started.pid)
    assert warnings == []


def test_one_that_does_not_quit_is_killed_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qemu, "_QUIT_SECONDS", 0.1)
    warnings: list[str] = []
    with start(fake("deaf"), FACTS, tmp_path, HOST, warnings.append) as started:
        pass
    assert not alive(started.pid)
    assert warnings[-1] == "guest g1 did not end within 0 s of quit: killed"


def test_of_each_cpu_it_is_told_where_it_stands(tmp_path: Path) -> None:
    with start(fake(), FACTS, tmp_path, HOST, print) as started:
        assert cpu_states(started.qmp).splitlines() == [
            "CPU 0: RIP=ffffffff8193f1cf RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1",
            "CPU 1: EIP=0000fff0 EFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=0",
        ]
        os.kill(started.pid, signal.SIGKILL)
        assert "QEMU" in cpu_states(started.qmp)


def test_one_that_ends_at_once_is_told_with_its_words(tmp_path: Path) -> None:
    plan = guest("sh", "-c", "echo no such machine >&2; echo panic > $0; exit 3", "{file:console}")
    with pytest.raises(StartError) as caught:
        start(plan, FACTS, tmp_path, HOST, print).__enter__()
    assert caught.value.message == "guest g1 ended early: exit status 3"
    assert caught.value.returncode == 3
    assert caught.value.output == "panic\nno such machine"
    assert caught.value.argv[0] == "sh"


def test_one_that_is_killed_later_is_told(tmp_path: Path) -> None:
    with start(fake(), FACTS, tmp_path, HOST, print) as started:
        os.kill(started.pid, signal.SIGKILL)
        with pytest.raises(StartError, match="guest g1 ended early: signal SIGKILL"):
            started.wait_ready()


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="guest g1 ended early: exit status 127") as caught:
        start(guest("qemu-none"), FACTS, tmp_path, HOST, print).__enter__()
    assert "qemu-none" in caught.value.output


def test_missing_vhost_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qemu, "VHOST_NET", str(tmp_path / "vhost-net"))
    with pytest.raises(CannotError, match=r"there is no .*/vhost-net for guest g1"):
        start(guest("tap,vhost=on"), FACTS, tmp_path, HOST, print).__enter__()


def test_it_dies_with_us(tmp_path: Path) -> None:
    """The signal is set before the program runs (PR_SET_PDEATHSIG), seen from inside it."""
    ask = "import ctypes; n = ctypes.c_int(); ctypes.CDLL(None).prctl(2, ctypes.byref(n)); "
    plan = guest(sys.executable, "-c", ask + "raise SystemExit(n.value)")
    with pytest.raises(StartError, match="exit status 9"):
        start(plan, FACTS, tmp_path, HOST, print).__enter__()
