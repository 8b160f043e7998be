"""Plugs a NIC into a running guest and takes it out again, over QMP.

``device_del`` only asks: QEMU answers at once, and whether the guest lets go is told by the event
DEVICE_DELETED or by nothing at all. So the event is waited for, and its absence is explained.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from lab.errors import LabError, StartError
from lab.evidence.guest import Holdings, HotplugEvidence
from lab.guest.qemu import Guest
from lab.plan.data import Fd, NicPlan

Opener = Callable[[Iterable[Fd]], AbstractContextManager[Mapping[str, int]]]

# Far above what was measured: 0.1 to 0.6 s, nested in a lab host under TCG.
_UNPLUG_SECONDS = 15.0
# QEMU's pool threads end after 10 s without work (util/thread-pool.c).
_SETTLE_SECONDS = 15.0
# Made for the first device of VFIO and kept until QEMU ends (vfio_kvm_device_fd, hw/vfio).
_FOR_LIFE = Counter({"anon_inode:kvm-vfio": 1})
_NUMBER = re.compile(r":\[\d+\]$")


# As the guest's init does for what is there when it boots; a virtio device appears below its PCI
# function, and a network device below that, each a moment later.
_TAKE = """
left=50
until grep -q {mac} /sys/class/net/*/address; do
  cat /sys/bus/pci/devices/*/modalias /sys/bus/virtio/devices/*/modalias | xargs modprobe -a -q
  left=$((left - 1))
  [ $left -gt 0 ] || exit 1
  sleep 0.1
done
"""


class Hotplug:
    """The NICs of one guest that come when it runs. ``opener`` opens the files that they need."""

    def __init__(self, guest: Guest, opener: Opener) -> None:
        self._guest = guest
        self._open = opener
        self._nics = tuple(nic for nic in guest.plan.nics if nic.hotplug)
        self._before = holdings(guest) if self._nics else None
        self._plugged: dict[str, list[float]] = {nic.id: [] for nic in self._nics}
        self._unplugged: dict[str, list[float]] = {nic.id: [] for nic in self._nics}
        self._kept: dict[str, str] = {}

    def plug(self) -> None:
        """Plug in all of them and set the guest's NICs up. Raises RefusedError, StartError."""
        for nic in self._nics:
            began = time.monotonic()
            self._plug(nic)
            self._take(nic)
            self._plugged[nic.id].append(time.monotonic() - began)
        self._guest.configure()

    def unplug(self) -> tuple[HotplugEvidence, ...]:
        """Take them out, and in and out again for as many rounds as they are to have."""
        self._unplug_all()
        for _ in range(max((nic.rounds for nic in self._nics), default=1) - 1):
            if not self._kept:
                self.plug()
                self._unplug_all()
        return tuple(self._evidence(nic) for nic in self._nics)

    def _plug(self, nic: NicPlan) -> None:
        names = {name for step in nic.hotplug for name in step.fds}
        qmp = self._guest.qmp
        with self._open([fd for fd in self._guest.plan.fds if fd.name in names]) as fds:
            for step in nic.hotplug:
                for name in step.fds:
                    qmp.give_fd(name, fds[name])
                qmp.execute(step.command, step.arguments)

    def _take(self, nic: NicPlan) -> None:
        """Have the guest load the NIC's driver, as udev would. Raises StartError."""
        result = self._guest.run(_TAKE.format(mac=nic.mac.lower()))
        if result.returncode:
            raise StartError(
                f"guest {self._guest.name}: no driver took {nic.id} after it was plugged in",
                output=result.err,
            )

    def _unplug_all(self) -> None:
        for nic in self._nics:
            try:
                self._unplugged[nic.id].append(self._unplug(nic))
            except LabError as error:
                self._guest.check()
                self._kept[nic.id] = f"{error.message}: {self._why_kept(nic)}"

    def _unplug(self, nic: NicPlan) -> float:
        """How long the guest took to let it go."""
        began, took = time.monotonic(), 0.0
        qmp = self._guest.qmp
        for step in nic.unplug:
            qmp.execute(step.command, step.arguments)
            if step.command == "device_del":
                qmp.wait_event(
                    "DEVICE_DELETED", _UNPLUG_SECONDS, lambda data: data.get("device") == nic.id
                )
                took = time.monotonic() - began
        return took

    def _why_kept(self, nic: NicPlan) -> str:
        """What the guest did not do of all that lets a device go."""
        status = self._guest.qmp.execute("query-status")
        if not status["running"]:
            return f"the guest does not run ({status['status']}), so it has heard nothing of it"
        device = self._guest.nics[nic.id].device
        with suppress(LabError):
            if self._guest.run(["test", "-e", f"/sys/class/net/{device}"]).returncode == 0:
                return f"the guest's driver still holds {device}"
            return f"the guest's driver has let {device} go, its slot was not switched off"
        return "the guest runs, but its agent does not answer"

    def _evidence(self, nic: NicPlan) -> HotplugEvidence:
        assert self._before is not None
        after = holdings(self._guest) if self._kept else settled(self._guest, self._before)
        return HotplugEvidence(
            guest=self._guest.name,
            nic=nic.id,
            plugged=_rounded(self._plugged[nic.id]),
            unplugged=_rounded(self._unplugged[nic.id]),
            kept=self._kept.get(nic.id, ""),
            before=self._before,
            after=after,
            left=excess(self._before, after),
        )


def holdings(guest: Guest) -> Holdings:
    """All that QEMU holds open, runs and has on its PCI buses."""
    return Holdings(
        fds=dict(Counter(_links(guest.pid))),
        threads=dict(Counter(_threads(guest.pid))),
        devices=tuple(sorted(_devices(guest.qmp.execute("query-pci")))),
    )


def settled(guest: Guest, before: Holdings) -> Holdings:
    """What QEMU holds once that is not more than before, or after a while in which it is.

    It frees some of it a moment later (RCU).
    """
    deadline = time.monotonic() + _SETTLE_SECONDS
    while True:
        now = holdings(guest)
        if not excess(before, now) or time.monotonic() > deadline:
            return now
        guest.check(0.1)


def excess(before: Holdings, after: Holdings) -> tuple[str, ...]:
    """What there is more of than before, in words."""
    fds = Counter(after.fds) - Counter(before.fds) - _FOR_LIFE
    threads = Counter(after.threads) - Counter(before.threads)
    return (
        *(f"{count} x {name}" for name, count in sorted(fds.items())),
        *(f"{count} threads {name}" for name, count in sorted(threads.items())),
        *sorted(set(after.devices) - set(before.devices)),
    )


def _links(pid: int) -> Iterator[str]:
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            yield _NUMBER.sub("", str(path.readlink()))


def _threads(pid: int) -> Iterator[str]:
    for path in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # ended meanwhile
            yield (path / "comm").read_text().strip()


def _devices(buses: list[dict[str, Any]]) -> Iterator[str]:
    """Every function on every bus, behind bridges too, by place and number."""
    for bus in buses:
        for device in bus["devices"]:
            place = f"{device['bus']:02x}:{device['slot']:02x}.{device['function']}"
            number = f"{device['id']['vendor']:04x}:{device['id']['device']:04x}"
            yield f"PCI {place} {number} {device['qdev_id']}".rstrip()
            bridge = device.get("pci_bridge", {})
            yield from _devices([{"devices": bridge.get("devices", [])}])


def _rounded(seconds: list[float]) -> tuple[float, ...]:
    return tuple(round(each, 3) for each in seconds)
