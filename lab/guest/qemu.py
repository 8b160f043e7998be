"""Starts a guest: one QEMU with a QMP and a guest agent channel that nobody else can reach."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Literal

from lab.errors import CannotError, LabError
from lab.evidence.guest import GuestEvidence, NicEvidence
from lab.guest.agent import Agent, Result
from lab.guest.nic import configure
from lab.guest.process import Process, Words, on_cpu, start_process
from lab.host.fds import VHOST_HINT, VHOST_NET, open_fds
from lab.host.host import Host
from lab.labhost.process import KILL_SECONDS
from lab.plan.data import Facts, Fd, GuestPlan
from lab.plan.where import HOST
from lab.qmp import Qmp

# The longest a guest may take to boot, and one of its NICs to come up. Far above what was measured
# (5 to 7 s nested in a lab host under TCG, 44 s there with four of them on two cores): they end a
# wait that is hopeless; a QEMU that dies ends it at once.
_BOOT_SECONDS = {"kvm": 150.0, "tcg": 300.0}
_NIC_SECONDS = {"kvm": 20.0, "tcg": 40.0}
_QUIT_SECONDS = 5.0
STOP_SECONDS = 2 * _QUIT_SECONDS + KILL_SECONDS
"""The longest that a guest's end takes: an answer to ``quit``, the end, the end by SIGKILL."""

# RIP or EIP, the flags, and the rest of its line (target/i386/cpu-dump.c).
_WHERE_IT_STANDS = re.compile(r"^[RE]IP=.*", re.MULTILINE)
_PLACE = re.compile(r"\{(chan|file|fd):([^{}]+)\}")

Warn = Callable[[str], None]


class Guest:
    """A running guest. ``nics`` is filled by `configure`."""

    def __init__(
        self, plan: GuestPlan, process: Process, qmp: Qmp, agent: Agent, facts: Facts
    ) -> None:
        self.name = plan.name
        self.plan = plan
        self.pid = process.pid
        self.qmp = qmp
        self.agent = agent
        self.nics: dict[str, NicEvidence] = {}
        self._process = process
        self._nic_seconds = _NIC_SECONDS[facts.accelerator]
        self._boot_seconds = _BOOT_SECONDS[facts.accelerator]
        self._booted = 0.0
        self._kernel = ""

    def run(self, program: str | Sequence[str], deadline: float = 30.0) -> Result:
        """Run a program in the guest (a text is a shell script): see `Agent.run`."""
        return self.agent.run(program, deadline)

    @property
    def command(self) -> str:
        """QEMU's command line as it was started."""
        return self._process.command

    def wait_ready(self) -> None:
        """Wait for the guest agent's first answer. Raises StartError."""
        self.agent.sync(self._boot_seconds)
        self._booted = time.monotonic() - self._process.started

    def configure(self) -> None:
        """Set the guest's NICs up. Raises StartError."""
        self._kernel, nics = configure(self.agent, self.name, self.plan.nics, self._nic_seconds)
        self.nics = {nic.id: nic for nic in nics}

    def adopt(self, source: Guest) -> None:
        """Take over what was said of the guest that has migrated to this QEMU."""
        self.name, self.nics = source.name, source.nics
        self.plan = self.plan.model_copy(update={"name": source.name})
        self._kernel, self._booted = source._kernel, source._booted

    def check(self, seconds: float = 0.0) -> None:
        """Raise StartError if QEMU has ended, or does within ``seconds``."""
        self._process.check(seconds)

    def evidence(self) -> GuestEvidence:
        """The guest as it runs, by QEMU's and its own word."""
        accelerator: Literal["kvm", "tcg"] = (
            "kvm" if self.qmp.execute("query-kvm")["enabled"] else "tcg"
        )
        return GuestEvidence(
            name=self.name,
            accelerator=accelerator,
            kernel=self._kernel,
            command=self._process.command,
            boot_seconds=round(self._booted, 3),
            nics=tuple(self.nics.values()),
        )

    def qemu_version(self) -> str:
        """QEMU's version by its own word, such as ``10.0.13``."""
        version = self.qmp.execute("query-version")["qemu"]
        return f"{version['major']}.{version['minor']}.{version['micro']}"


@contextmanager
def start(  # noqa: PLR0913  what every start needs, and the one CPU that some are to stay on
    plan: GuestPlan,
    facts: Facts,
    folder: Path,
    host: Host,
    warn: Warn,
    *,
    cpu: int | None = None,
) -> Iterator[Guest]:
    """Start a guest's QEMU and yield it as soon as it answers on QMP; it boots meanwhile.

    At the end it is asked to quit, then killed; ``warn`` is told when it had to be. Raises
    StartError when QEMU ends at once, CannotError when it, or something it needs, cannot be opened.
    """
    _check_vhost(plan)
    words = Words(folder / f"{plan.name}-console.log", folder / f"{plan.name}-qemu.log")
    with ExitStack() as stack:
        channels = {name: _channel(stack) for name in ("qmp", "agent")}
        with ExitStack() as theirs:
            fds = {name: theirs.enter_context(pair[1]).fileno() for name, pair in channels.items()}
            opened = theirs.enter_context(open_fds(host, _inherited(plan), folder))
            argv = render(plan.argv, fds, opened, {"console": words.console})
            with host.inside(HOST), on_cpu(cpu):
                process = stack.enter_context(
                    start_process(
                        plan.name, argv, facts.qemu_env, [*fds.values(), *opened.values()], words
                    )
                )
        qmp = _connect(stack, channels["qmp"][0], process)
        agent = Agent(channels["agent"][0], process, lambda: cpu_states(qmp))
        try:
            yield Guest(plan, process, qmp, agent, facts)
        finally:
            _quit(qmp, process, warn)


def render(
    argv: Sequence[str],
    channels: Mapping[str, int],
    fds: Mapping[str, int],
    files: Mapping[str, Path],
) -> tuple[str, ...]:
    """The argv with its named places filled in."""

    def fill(place: re.Match[str]) -> str:
        kind, name = place.groups()
        if kind == "chan":
            return f"fd={channels[name]}"
        return str(fds[name] if kind == "fd" else files[name])

    return tuple(_PLACE.sub(fill, word) for word in argv)


def cpu_states(qmp: Qmp) -> str:
    """A line for each of the guest's CPUs: where it stands, and whether it halts (``HLT=1``).

    Never raises: that QEMU does not answer either is told in its place.
    """
    command = {"command-line": "info registers -a"}
    try:
        text = qmp.execute("human-monitor-command", command, timeout=_QUIT_SECONDS)
    except LabError as error:
        return error.message
    return "\n".join(f"CPU {n}: {at}" for n, at in enumerate(_WHERE_IT_STANDS.findall(text)))


def _inherited(plan: GuestPlan) -> tuple[Fd, ...]:
    """What QEMU gets at its start; the rest goes to it with the NIC that needs it."""
    return tuple(fd for fd in plan.fds if any(f"{{fd:{fd.name}}}" in word for word in plan.argv))


def _check_vhost(plan: GuestPlan) -> None:
    """QEMU opens vhost-net by itself for a tap by name; 7.2 aborts when it is not there."""
    steps = (step for nic in plan.nics for step in nic.hotplug)
    plugged = any(step.arguments.get("vhost") is True for step in steps)
    wanted = plugged or any("vhost=on" in word for word in plan.argv)
    if wanted and not Path(VHOST_NET).exists():
        raise CannotError(f"there is no {VHOST_NET} for guest {plan.name}", hint=VHOST_HINT)


def _channel(stack: ExitStack) -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    stack.enter_context(ours)
    return ours, theirs


def _connect(stack: ExitStack, sock: socket.socket, process: Process) -> Qmp:
    try:
        return stack.enter_context(Qmp(sock, f"guest {process.name}"))
    except LabError:
        process.check(1.0)
        raise


def _quit(qmp: Qmp, process: Process, warn: Warn) -> None:
    if process.wait_end(0):
        return
    with suppress(LabError):  # whether it ended is what counts, not what it answered
        qmp.execute("quit", timeout=_QUIT_SECONDS)
    if not process.wait_end(_QUIT_SECONDS):
        warn(f"guest {process.name} did not end within {_QUIT_SECONDS:.0f} s of quit: killed")
