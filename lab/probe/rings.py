"""The rings of a virtio NIC: whether what was asked for is in effect."""

from __future__ import annotations

import re

from lab.evidence.carrier import RingEvidence
from lab.probe.lane import Guest, Lane, Monitor
from lab.probe.qemu import virtio_status
from lab.qmp import RefusedError

_CURRENT = re.compile(r"^Current hardware settings:\n(?:.*\n)*?RX:\s+(\d+)$", re.MULTILINE)


def observe_rings(lane: Lane) -> RingEvidence:
    """Ask QEMU what the guest has agreed to, and the guest how long its receive ring is."""
    missing: list[str] = []
    return RingEvidence(
        guest=lane.probe.guest,
        nic=lane.probe.nic,
        packed=_packed(lane.guest.qmp, lane.probe.nic, missing),
        rx_ring=_rx_ring(lane.guest, lane.nic.device, missing),
        missing=tuple(missing),
    )


def _packed(qmp: Monitor, nic: str, missing: list[str]) -> bool | None:
    """Whether the driver took VIRTIO_F_RING_PACKED; None where the NIC is not virtio."""
    try:
        status = virtio_status(qmp, nic)
    except RefusedError as error:
        missing.append(error.message)
        return None
    if status is None:
        return None
    agreed = status["guest-features"]["transports"]
    return any(feature.startswith("VIRTIO_F_RING_PACKED") for feature in agreed)


def _rx_ring(guest: Guest, device: str, missing: list[str]) -> int | None:
    result = guest.run(f"ethtool -g {device}")
    found = rx_ring_in(result.raw.decode(errors="replace"))
    if found is None:
        missing.append(f"ethtool -g {device}: {result.err.strip() or 'no ring in its answer'}")
    return found


def rx_ring_in(text: str) -> int | None:
    """Entries of the receive ring now in use, from ``ethtool -g``."""
    found = _CURRENT.search(text)
    return int(found[1]) if found else None
