"""The facts of places that are known beforehand."""

from __future__ import annotations

from lab.model.words import LABHOST_MACS
from lab.plan.data import Facts, Place, Port

_GUEST = "/usr/share/hoplab/guest"


_RUN = "labhost"


def labhost_facts(run: str = _RUN) -> Facts:
    """What a lab host is: the images and its QEMU command line make it the same every time.

    So are the MAC addresses, which follow from ``run``: no two lab hosts share a wire.
    """
    return Facts(
        place=Place.LABHOST,
        accelerator="kvm",
        qemu=("qemu-system-x86_64",),
        qemu_env={},
        kernel=f"{_GUEST}/vmlinux",
        initrd=f"{_GUEST}/initrd",
        ports=(
            _port("uplink", "eth0", 1, "igb"),
            _port("spare1", "eth2", 3, "igb"),
            _port("spare2", "eth3", 4, "igb"),
            _port("spare3", "eth4", 5, "e1000e"),
        ),
        tester="eth1",
        run=run,
    )


def _port(name: str, device: str, bus: int, driver: str) -> Port:
    """A port of the lab host; the bus number is in its addresses (`lab.labhost.machine`)."""
    return Port(
        name=name,
        device=device,
        pci=f"0000:{bus:02x}:00.0",
        driver=driver,
        mac=f"{LABHOST_MACS}{bus:02x}",
    )
