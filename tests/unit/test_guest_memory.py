"""What is not in huge pages is counted, by what the kernel says of the largest mapping."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.guest.memory import scattered_mib


def mapping(start: str, size: int, huge: int) -> str:
    return f"""{start}-7fc043e00000 rw-p 00000000 00:00 0
Size:             {size:>6} kB
KernelPageSize:        4 kB
Rss:              {size:>6} kB
AnonHugePages:    {huge:>6} kB
FilePmdMapped:         0 kB
VmFlags: rd wr mr mw me dc ac sd hg mg
"""


@pytest.mark.parametrize(
    ("size", "huge", "scattered"),
    [(196608, 196608, 0), (196608, 106496, 88), (164864, 163840, 0), (164864, 161792, 2)],
    ids=["whole", "scattered", "rest-too-small", "rest-and-one"],
)
def test_the_guests_memory_is_the_largest_mapping(
    tmp_path: Path, size: int, huge: int, scattered: int
) -> None:
    file = tmp_path / "smaps"
    others = mapping("55d000000000", 4096, 0), mapping("7f0000000000", 132, 0)
    file.write_text(others[0] + mapping("7fc037e00000", size, huge) + others[1])
    assert scattered_mib(file) == scattered


def test_a_qemu_that_has_ended_has_none(tmp_path: Path) -> None:
    assert scattered_mib(tmp_path / "smaps") == 0
