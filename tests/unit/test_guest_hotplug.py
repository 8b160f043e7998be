"""Plugging in and out, against a guest whose QEMU is a few lists."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from lab.errors import StartError
from lab.evidence.guest import Holdings, NicEvidence
from lab.guest import hotplug
from lab.guest.agent import Result
from lab.guest.hotplug import Hotplug, excess, holdings
from lab.guest.qemu import Guest
from lab.plan.data import Fd, GuestPlan, Plan
from lab.plan.hotplug import hotplugged
from tests.plans import plan_of

RUNS: dict[str, Any] = {"query-status": {"running": True, "status": "running"}}


@dataclass
class Qemu:
    """Keeps what it was told; its devices come and go with device_add and device_del."""

    answers: dict[str, Any] = field(default_factory=lambda: dict(RUNS))
    told: list[str] = field(default_factory=list)
    devices: list[str] = field(default_factory=list)
    deaf: bool = False

    def execute(self, command: str, arguments: Mapping[str, Any] | None = None) -> Any:
        name = (arguments or {}).get("id", "")
        if command == "query-pci":
            return [{"devices": [self._function(device) for device in self.devices]}]
        if command == "device_add":
            self.devices.append(name)
        if command == "device_del" and not self.deaf:
            self.devices.remove(name)
        if command not in self.answers:
            self.told.append(f"{command} {name}".strip())
        return self.answers.get(command, {})

    def give_fd(self, name: str, fd: int) -> None:
        os.fstat(fd)  # it is open
        self.told.append(f"getfd {name}")

    def wait_event(self, name: str, seconds: float, match: Callable[[Any], bool]) -> Any:
        if self.deaf:
            raise StartError(f"guest: no {name} event within {seconds:.0f} s")
        assert match({"device": "nic0"})
        assert not match({"path": "/machine/peripheral/nic0/virtio-backend"})

    def _function(self, name: str) -> dict[str, Any]:
        return {
            "bus": 1,
            "slot": 0,
            "function": 0,
            "id": {"vendor": 0x1AF4, "device": 0x1041},
            "qdev_id": name,
        }


@dataclass
class Machine:
    """The face of a guest; its process is the test's own."""

    plan: GuestPlan
    qmp: Qemu = field(default_factory=Qemu)
    name: str = "guest"
    pid: int = field(default_factory=os.getpid)
    holds_device: bool = True
    has_driver: bool = True
    configured: int = 0
    nics: dict[str, NicEvidence] = field(
        default_factory=lambda: {
            "nic0": NicEvidence(id="nic0", device="eth0", driver="virtio_net", mac="")
        }
    )

    def configure(self) -> None:
        self.configured += 1

    def check(self, seconds: float = 0.0) -> None:
        """It lives."""

    def run(self, program: str | Sequence[str]) -> Result:
        good = self.has_driver if isinstance(program, str) else self.holds_device
        return Result(int(not good), b"", "")


@contextmanager
def opened(fds: Iterable[Fd]) -> Iterator[Mapping[str, int]]:
    numbers = {fd.name: os.open(os.devnull, os.O_RDONLY) for fd in fds}
    yield numbers
    for number in numbers.values():
        os.close(number)


def machine(name: str = "vhost", rounds: int = 1, **settings: str) -> Machine:
    plan: Plan = hotplugged(plan_of(name, settings), rounds)
    return Machine(plan.guests[0])


def session(machine: Machine) -> Hotplug:
    return Hotplug(cast("Guest", machine), opened)


def test_there_and_back() -> None:
    guest = machine()
    plugs = session(guest)
    plugs.plug()
    assert guest.configured == 1
    (seen,) = plugs.unplug()
    assert guest.qmp.told == [
        "netdev_add net0",
        "device_add nic0",
        "device_del nic0",
        "netdev_del net0",
    ]
    assert (len(seen.plugged), len(seen.unplugged), seen.kept, seen.left) == (1, 1, "", ())


def test_files_go_before_the_command_that_names_them() -> None:
    guest = machine("macvtap", queues="2")
    before = holdings(cast("Guest", guest)).fds.get(os.devnull)
    session(guest).plug()
    names = ("net0q0", "net0q1", "net0q0vhost", "net0q1vhost")
    assert guest.qmp.told == [
        *(f"getfd {name}" for name in names),
        "netdev_add net0",
        "device_add nic0",
    ]
    assert holdings(cast("Guest", guest)).fds.get(os.devnull) == before


def test_rounds_are_counted() -> None:
    guest = machine(rounds=3)
    plugs = session(guest)
    plugs.plug()
    (seen,) = plugs.unplug()
    assert (len(seen.plugged), len(seen.unplugged), guest.configured) == (3, 3, 3)


@pytest.mark.parametrize(
    ("running", "holds", "words"),
    [
        (False, True, "the guest does not run (paused), so it has heard nothing of it"),
        (True, True, "the guest's driver still holds eth0"),
        (True, False, "the guest's driver has let eth0 go, its slot was not switched off"),
    ],
)
def test_a_guest_that_does_not_let_go_is_explained(running: bool, holds: bool, words: str) -> None:
    guest = machine(rounds=3)
    guest.qmp.deaf, guest.holds_device = True, holds
    status = "running" if running else "paused"
    guest.qmp.answers = {"query-status": {"running": running, "status": status}}
    plugs = session(guest)
    plugs.plug()
    (seen,) = plugs.unplug()
    assert seen.kept == f"guest: no DEVICE_DELETED event within 15 s: {words}"
    assert seen.unplugged == ()
    assert seen.left == ("PCI 01:00.0 1af4:1041 nic0",)
    assert "netdev_del net0" not in guest.qmp.told


def test_a_nic_that_no_driver_takes_is_an_error() -> None:
    guest = machine()
    guest.has_driver = False
    with pytest.raises(StartError, match="no driver took nic0"):
        session(guest).plug()


def test_what_stays_is_waited_for_then_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hotplug, "_SETTLE_SECONDS", 0.0)
    guest = machine()
    plugs = session(guest)
    plugs.plug()
    with Path(os.devnull).open():
        (seen,) = plugs.unplug()
    assert seen.left == (f"1 x {os.devnull}",)


def test_a_guest_without_such_nics_is_only_set_up() -> None:
    guest = Machine(plan_of("vhost").guests[0])
    plugs = session(guest)
    plugs.plug()
    assert plugs.unplug() == ()
    assert (guest.qmp.told, guest.configured) == ([], 1)


def test_holdings_name_what_they_count() -> None:
    reading, writing = os.pipe()
    held = holdings(cast("Guest", machine()))
    os.close(reading)
    os.close(writing)
    assert held.fds["pipe"] >= 2
    assert sum(held.threads.values()) >= 1


def test_the_one_file_that_vfio_keeps_is_no_excess() -> None:
    before = Holdings(fds={}, threads={}, devices=())
    kvm_vfio = "anon_inode:kvm-vfio"
    assert excess(before, before.model_copy(update={"fds": {kvm_vfio: 1}})) == ()
    more = before.model_copy(update={"fds": {kvm_vfio: 2}})
    assert excess(before, more) == (f"1 x {kvm_vfio}",)


def test_excess_is_what_there_is_more_of() -> None:
    before = Holdings(fds={"a": 2, "b": 1}, threads={"t": 2}, devices=("PCI 00:00.0",))
    after = Holdings(fds={"a": 3}, threads={"t": 1, "u": 1}, devices=("PCI 00:00.0", "PCI 01:00.0"))
    assert excess(before, after) == ("1 x a", "1 threads u", "PCI 01:00.0")
