"""The lab host: started, warm, and ready for calls.

Its first use boots cold, waits for the server's answer and saves a snapshot; every later use
restores that, or a lab host that was kept while a call with the same beginning rested. Whatever is
wrong with a snapshot costs a cold boot, never the run.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lab.errors import LabError, StartError
from lab.events import Emit, Note, Stage
from lab.labhost import migration, shell
from lab.labhost.accelerator import Choice
from lab.labhost.channel import Channel
from lab.labhost.code import package_zip
from lab.labhost.frames import Message
from lab.labhost.kept import Keeper, Said, keeper, now
from lab.labhost.machine import Accelerator, Fds
from lab.labhost.process import Running, running
from lab.labhost.setup import Images, Setup, prepare
from lab.qmp import Qmp

# Seconds under KVM; every one is scaled by the accelerator.
START_SECONDS = 5.0
BOOT_SECONDS = 30.0
RESTORE_SECONDS = 4.0
SAVE_SECONDS = 15.0

# What `lab run` calls inside.
_WARM = "lab.inside"


@dataclass(frozen=True)
class Machine:
    """A QEMU that was started, and our ends of its sockets."""

    process: Running
    qmp: Qmp
    channel: Channel
    shell: socket.socket


@dataclass(frozen=True)
class Labhost:
    """A running lab host, from `open_labhost`.

    ``timings`` are seconds: ``start`` from starting QEMU to its QMP greeting, then ``restore`` and
    ``hello`` (to the server's answer), or ``boot`` (to the answer), ``warm`` and ``save``.
    """

    setup: Setup
    restored: bool
    timings: dict[str, float]
    hello: Message
    machine: Machine
    code: Future[bytes]
    keeper: Keeper | None = None
    said: Said | None = None

    @property
    def accelerator(self) -> Accelerator:
        """What runs it; ``setup.decision`` says why."""
        return self.setup.accelerator

    @property
    def qemu_version(self) -> str:
        """Debian's version of the QEMU that runs it."""
        return self.setup.qemu_version

    @property
    def kernel(self) -> str:
        """Release of the lab host's kernel, as its server tells it."""
        return str(self.hello["kernel"])

    @property
    def pid(self) -> int:
        """QEMU's process id on this machine."""
        return self.machine.process.pid

    def call(
        self, entry: str, argument: dict[str, Any], deadline: float
    ) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Run ``entry`` ("module:function" of the lab's own code) inside; yield its events.

        ``deadline`` is the longest silence between two events, in seconds under KVM; math.inf
        waits for ever. Raises StartError with the traceback when the entry raises, with the
        console's last lines when the lab host dies or stays silent.
        """
        seconds = self.setup.scaled(deadline)
        return self.machine.channel.call(entry, argument, self.code.result(), seconds)

    def carry(
        self, entry: str, argument: dict[str, Any], deadline: float
    ) -> Iterator[tuple[dict[str, Any], bytes]]:
        """`call` an entry that rests at its event ``ready`` where it is told to.

        Where its beginning is to be kept it rests, and is kept; where it was kept, it goes on from
        there.
        """
        if self.said is None:
            events = self.call(entry, argument | {"pause": self.keeper is not None}, deadline)
            yield from self._kept_on_the_way(events, argument)
        else:
            yield from ((event, b"") for event in self.said.events)
            self.machine.channel.say(json.dumps(argument))
            yield from self.machine.channel.replies(entry, self.setup.scaled(deadline))

    def _kept_on_the_way(
        self, events: Iterator[tuple[dict[str, Any], bytes]], argument: dict[str, Any]
    ) -> Iterator[tuple[dict[str, Any], bytes]]:
        before: list[dict[str, Any]] = []
        for event, attachment in events:
            if event["event"] == "ready":
                self._keep(tuple(before))
                self.machine.channel.say(json.dumps(argument))
                continue
            if event["event"] not in {"stage", "alive"}:
                before.append(event)
            yield event, attachment

    def _keep(self, events: tuple[dict[str, Any], ...]) -> None:
        """Keep the lab host as it rests; the run goes on whether or not that works."""
        assert self.keeper is not None
        channel = self.machine.channel
        said = Said(call=channel.calls, hello=self.hello, events=events, date=now())
        seconds = self.setup.scaled(SAVE_SECONDS)
        self.setup.emit(Stage(name="keep"), b"")
        try:
            with _timed(self.timings, "keep"), _told(self.machine):
                self.keeper.keep(said, lambda file: migration.save(self.machine.qmp, file, seconds))
        except (OSError, migration.MigrationError) as error:
            self.setup.warn(f"the guests cannot be kept for the next run: {error}")
        else:
            detail = "the next run goes on from here"
            self.setup.emit(Stage(name="keep", seconds=self.timings["keep"], detail=detail), b"")

    def shell(self) -> None:
        """Give the terminal to a root shell inside until the user types Ctrl-].

        Raises StartError when the lab host's kernel panics meanwhile; it may be switched off.
        """
        process = self.machine.process
        if shell.bridge(self.machine.shell, sys.stdin, sys.stdout) and process.program.panicked():
            raise process.failure("its kernel panicked")


@contextmanager
def open_labhost(
    images: Images, choice: Choice, rundir: Path, emit: Emit, beginning: str | None = None
) -> Iterator[Labhost]:
    """Yield a lab host that has answered; it is killed at the end.

    ``beginning`` is what it is to be kept with, or was: all that the next `Labhost.carry` does
    until it rests. Call it from a thread that lives as long: QEMU dies with it. Raises CannotError
    when this machine cannot run one, StartError when it does not come up.
    """
    setup = prepare(images, choice, rundir, emit)
    emit(Note(text=f"lab host under {setup.accelerator}: {setup.decision.reason}"), b"")
    with ExitStack() as stack:
        workers = stack.enter_context(ThreadPoolExecutor(1, "code"))
        code = workers.submit(package_zip, setup.compiler, setup.code_cache)
        emit(Stage(name="lab host"), b"")
        keep = keeper(setup.kept, setup.key(), code.result(), beginning) if beginning else None
        labhost = _resumed(stack, setup, code, keep) if keep else None
        labhost = labhost or replace(_started(stack, setup, code), keeper=keep)
        seconds = sum(labhost.timings.values())
        emit(Stage(name="lab host", seconds=seconds, detail=_how(labhost)), b"")
        yield labhost


def _how(labhost: Labhost) -> str:
    if labhost.said is not None:
        return f"restored with its guests up, as kept {labhost.said.date}"
    return "restored from its snapshot" if labhost.restored else "booted"


def _resumed(stack: ExitStack, setup: Setup, code: Future[bytes], keeper: Keeper) -> Labhost | None:
    """A lab host in which a call rests, or None where none was kept or it does not work."""
    found = keeper.find(setup.warn)
    if found is None:
        return None
    state, said = found

    def greet(channel: Channel, seconds: float) -> Message:
        channel.rejoin(said.call, seconds)
        return said.hello

    labhost = _restored(stack, setup, code, state, greet)
    if labhost is None:
        keeper.drop()
        return None
    return replace(labhost, said=said)


def _started(stack: ExitStack, setup: Setup, code: Future[bytes]) -> Labhost:
    """Restored where there is a snapshot, else booted, and saved for the next time."""
    key = setup.key()
    state = setup.store.find(key, setup.warn)
    if state is not None:
        labhost = _restored(stack, setup, code, state)
        if labhost is not None:
            return labhost
        setup.store.drop(key)
    return _first(stack, setup, code, key)


def _first(stack: ExitStack, setup: Setup, code: Future[bytes], key: str) -> Labhost:
    """The first use: boot and save. Of two at once, the second restores what the first saved."""
    with setup.store.making() as problem:
        state = setup.store.find(key, setup.warn)
        labhost = _restored(stack, setup, code, state) if state else None
        if labhost is not None:
            return labhost
        labhost = _booted(stack, setup, code)
        if problem:
            setup.warn(f"the lab host cannot be kept for the next run: {problem}")
        else:
            _warm(labhost, setup)
            _save(labhost, setup, key)
        return labhost


def _restored(
    stack: ExitStack,
    setup: Setup,
    code: Future[bytes],
    state: Path,
    greet: Callable[[Channel, float], Message] = Channel.hello,
) -> Labhost | None:
    """A lab host out of ``state``, or None when that does not work, for whatever reason."""
    timings: dict[str, float] = {}
    seconds = setup.scaled(RESTORE_SECONDS)
    with ExitStack() as attempt:
        try:
            machine = _launched(attempt, setup, timings, incoming=True)
            with _timed(timings, "restore"), _told(machine):
                migration.restore(machine.qmp, state, seconds)
            with _timed(timings, "hello"):
                hello = greet(machine.channel, seconds)
        except LabError as error:
            setup.warn(f"the lab host's snapshot did not work: {error.message}")
            return None
        stack.enter_context(attempt.pop_all())
    return Labhost(setup, True, timings, hello, machine, code)


def _booted(stack: ExitStack, setup: Setup, code: Future[bytes]) -> Labhost:
    timings: dict[str, float] = {}
    machine = _launched(stack, setup, timings, incoming=False)
    with _timed(timings, "boot"):
        hello = machine.channel.hello(setup.scaled(BOOT_SECONDS))
    if hello["setup"]:
        raise machine.process.failure(f"its set-up failed: {hello['setup']}")
    return Labhost(setup, False, timings, hello, machine, code)


def _warm(labhost: Labhost, setup: Setup) -> None:
    """Have the lab's code imported before the snapshot; the runs until its next change save that.

    Code that cannot be imported is told by the call that needs it.
    """
    seconds = setup.scaled(BOOT_SECONDS)
    with _timed(labhost.timings, "warm"), suppress(StartError):
        labhost.machine.channel.warm(_WARM, labhost.code.result(), seconds)


def _save(labhost: Labhost, setup: Setup, key: str) -> None:
    """Keep the lab host for the next run; this one goes on whether or not that works."""
    seconds = setup.scaled(SAVE_SECONDS)
    try:
        with _timed(labhost.timings, "save"), _told(labhost.machine):
            setup.store.add(key, lambda file: migration.save(labhost.machine.qmp, file, seconds))
    except (OSError, migration.MigrationError) as error:
        setup.warn(f"the lab host cannot be kept for the next run: {error}")


def _launched(
    stack: ExitStack, setup: Setup, timings: dict[str, float], *, incoming: bool
) -> Machine:
    """Start QEMU with its three sockets; it has greeted on return."""
    pairs = [socket.socketpair() for _ in range(3)]
    ours = [stack.enter_context(pair[0]) for pair in pairs]
    fds = [pair[1].fileno() for pair in pairs]
    with ExitStack() as theirs, _timed(timings, "start"):
        for pair in pairs:
            theirs.enter_context(pair[1])
        program = setup.program(setup.machine(Fds(*fds), incoming=incoming))
        process = stack.enter_context(running(program, fds))
        theirs.close()  # QEMU's end alone is open: when it dies, ours tells
        qmp = Qmp(ours[0], program.name, timeout=setup.scaled(START_SECONDS))
        machine = Machine(process, qmp, Channel(ours[1], process), ours[2])
        with _told(machine):
            stack.enter_context(qmp)
    return machine


@contextmanager
def _told(machine: Machine) -> Iterator[None]:
    """Add exit status, command and last words to an error on QMP, which knows none of them."""
    try:
        yield
    except StartError as error:
        raise machine.process.failure(error.message) from error


@contextmanager
def _timed(timings: dict[str, float], name: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    timings[name] = time.monotonic() - began
