"""A plan as what one would type: the QEMU line of a guest, and a bash script for all of it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Sequence

from lab.plan.data import Fd, GuestPlan, Plan
from lab.plan.operations import AddMacvtap
from lab.plan.shell import step
from lab.plan.where import WIRE

_PLACE = re.compile(r"\{(chan|file|fd):([^}]+)\}")
_FIRST_FD = 3

_HEAD = """\
#!/bin/bash
# {title}
#
# Does by hand what `lab run {topology}` does, and puts everything back at the end. Needs root, the
# kernel and the initrd named below, and the ports {ports}.
set -euo pipefail

undo=()
later() {{ undo=("$*" "${{undo[@]}}"); }}
put_back() {{
    local line
    for line in "${{undo[@]}}"; do
        eval "$line" || echo "left behind: $line" >&2
    done
}}
trap put_back EXIT

# The far end of the cable has a network namespace of its own; a lab host has made it already.
if [ ! -e /run/netns/{wire} ]; then
    ip netns add {wire}
    later ip netns del {wire}
fi
if ip link show dev {tester} > /dev/null 2>&1; then
    ip link set dev {tester} netns {wire}
    later ip -n {wire} link set dev {tester} netns $$
fi
"""


# What a shell cannot: pass an open file with a command (getfd), and wait for each answer.
_QMP = """
qmp() {
    python3 -c '
import json, os, socket, sys
sock = socket.socket(socket.AF_UNIX)
sock.connect(sys.argv[1])
answers = sock.makefile()
for line in sys.stdin:
    said = json.loads(line)
    path = said.pop("open", "")
    opened = [os.open(path, os.O_RDWR)] if path else []
    socket.send_fds(sock, [json.dumps(said).encode()], opened)
    answer = {}
    while not {"return", "error"} & answer.keys():
        answer = json.loads(answers.readline())
    print(answer)
    if "error" in answer:
        sys.exit(1)
' "$1"
}
"""


def command(plan: Plan, guest: str) -> str:
    """The QEMU line of the guest of that name, one option a line, to be pasted into a shell.

    Its sockets and its console are files named after the guest in the current folder; what QEMU
    inherits is opened by redirections at the end.
    """
    found = _guest(plan, guest)
    fds = [fd for fd in found.fds if any(f"{{fd:{fd.name}}}" in word for word in found.argv)]
    numbers = {fd.name: _FIRST_FD + index for index, fd in enumerate(fds)}
    words = [_shown(found.name, numbers, word) for word in found.argv]
    prefix = len(plan.facts.qemu)
    environment = [f"{key}={shlex.quote(value)}" for key, value in plan.facts.qemu_env.items()]
    lines = [
        " ".join([*environment, shlex.join(words[:prefix])]),
        *_options(words[prefix:]),
        *(_redirection(numbers[fd.name], fd) for fd in fds),
    ]
    return " \\\n    ".join(lines)


def commands(plan: Plan, guest: str) -> str:
    """The QMP commands that plug in the NICs of a guest, a line each; empty where none is."""
    return "\n".join(
        json.dumps({"execute": step.command, "arguments": step.arguments})
        for nic in _guest(plan, guest).nics
        for step in nic.hotplug
    )


def script(plan: Plan) -> str:
    """A bash script that makes what the plan needs, starts its guests and undoes all at the end."""
    facts = plan.facts
    ports = ", ".join([*(port.device for port in facts.ports), facts.tester])
    head = _HEAD.format(
        title=plan.title.replace("\n", " "),
        topology=plan.topology,
        ports=ports,
        wire=WIRE,
        tester=shlex.quote(facts.tester),
    )
    plugged = any(nic.hotplug for guest in plan.guests for nic in guest.nics)
    parts = [head, *([_QMP] if plugged else [])]
    parts += ["\n".join(_steps(plan)), "\n".join(_starts(plan)), "wait"]
    return "\n".join(f"{part.rstrip()}\n" for part in parts)


def _guest(plan: Plan, name: str) -> GuestPlan:
    return next(guest for guest in _processes(plan) if guest.name == name)


def _processes(plan: Plan) -> tuple[GuestPlan, ...]:
    """Every QEMU that stays: a guest that migrates has two."""
    return (*plan.guests, *((plan.migration.target,) if plan.migration else ()))


def _steps(plan: Plan) -> Iterator[str]:
    for operation in plan.operations:
        done = step(operation)
        yield from done.do
        if done.undo:
            yield f"later {shlex.quote(done.undo)}"
    for operation in plan.operations:
        if isinstance(operation, AddMacvtap):
            # A redirection would make a plain file where the device node is missing.
            node = f'"{_macvtap_node(operation.name)}"'
            yield f"test -c {node} || {{ echo {node} is no device >&2; exit 1; }}"


def _starts(plan: Plan) -> Iterator[str]:
    for guest in _processes(plan):
        if any(nic.hotplug for nic in guest.nics):
            yield f"rm -f {guest.name}.qmp"
        yield f"{command(plan, guest.name)} &"
        yield 'later "{ kill $!; wait $!; } 2> /dev/null || true"'
        yield from _plugs(guest)


def _plugs(guest: GuestPlan) -> Iterator[str]:
    """The NICs that come while the guest runs, with the files that QEMU is given for them."""
    if not any(nic.hotplug for nic in guest.nics):
        return
    fds = {fd.name: fd for fd in guest.fds}
    yield f"until [ -S {guest.name}.qmp ]; do kill -0 $!; sleep 0.1; done"
    yield f"qmp {guest.name}.qmp <<QMP"
    yield '{"execute": "qmp_capabilities"}'
    for nic in guest.nics:
        for told in nic.hotplug:
            yield from (_getfd(fds[name]) for name in told.fds)
            yield json.dumps({"execute": told.command, "arguments": told.arguments})
    yield "QMP"
    for nic in guest.nics:
        out = " then ".join(json.dumps(told.arguments) for told in nic.unplug)
        names = " and ".join(told.command for told in nic.unplug)
        yield f"# Out again by {names} (after DEVICE_DELETED): {out}"


def _getfd(fd: Fd) -> str:
    told = {"execute": "getfd", "arguments": {"fdname": fd.name}, "open": _node(fd)}
    return json.dumps(told)


def _shown(guest: str, numbers: dict[str, int], word: str) -> str:
    def place(match: re.Match[str]) -> str:
        kind, name = match.groups()
        if kind == "chan":
            return f"path={guest}.{name},server=on,wait=off"
        return str(numbers[name]) if kind == "fd" else f"{guest}.{name}"

    return _PLACE.sub(place, word)


def _options(words: Sequence[str]) -> Iterator[str]:
    """Each option together with its value."""
    line: list[str] = []
    for word in words:
        if word.startswith("-") and line:
            yield shlex.join(line)
            line = []
        line.append(word)
    if line:
        yield shlex.join(line)


def _redirection(number: int, fd: Fd) -> str:
    return f'{number}<>"{_node(fd)}"'


def _node(fd: Fd) -> str:
    return "/dev/vhost-net" if fd.kind == "vhost" else _macvtap_node(fd.device)


def _macvtap_node(device: str) -> str:
    return f"/dev/tap$(cat /sys/class/net/{device}/ifindex)"
