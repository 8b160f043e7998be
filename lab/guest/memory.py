"""Where a guest's memory lies on the host: in huge pages, or scattered in small ones.

A NIC reads a packet at the addresses that the guest has for it; an IOMMU finds the host's pages
behind them. QEMU's own igb and e1000e map each buffer of a packet in one piece and drop the packet,
counting nothing, where the pages behind a buffer are no neighbours (hw/net/net_tx_pkt.c, QEMU 8.1
to 10.0). Inside huge pages they always are.
"""

from __future__ import annotations

import re
from pathlib import Path

_MAPPING = re.compile(r"^(?=[0-9a-f]+-[0-9a-f]+ )", re.MULTILINE)
_SIZES = re.compile(r"^(Size|AnonHugePages): +(\d+) kB$", re.MULTILINE)
_HUGE_KIB = 2048


def scattered_mib(smaps: Path) -> int:
    """How many MiB of a guest's memory could be in huge pages and are not.

    ``smaps`` is the file of its QEMU in /proc (proc_pid_smaps(5)), whose largest mapping is the
    guest's memory. 0 where QEMU has ended: whoever needs it next says so.
    """
    try:
        mappings = [_kib(text) for text in _MAPPING.split(smaps.read_text()) if text]
    except OSError:
        return 0
    size, huge = max(mappings, default=(0, 0))
    return (size // _HUGE_KIB * _HUGE_KIB - huge) // 1024


def _kib(mapping: str) -> tuple[int, int]:
    found = {name: int(value) for name, value in _SIZES.findall(mapping)}
    return found.get("Size", 0), found.get("AnonHugePages", 0)
