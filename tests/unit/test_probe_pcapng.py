"""The pcapng file as others read it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from scapy.utils import RawPcapNgReader

from lab.probe.capture import Frame
from lab.probe.pcapng import pcapng

MARKED = bytes(12) + b"\x08\x00" + bytes(28) + b"hoplab\0\x07" + b"x"
FRAMES = (
    Frame("wire", "eth1", 1_700_000_000_123_456_789, MARKED, outgoing=True),
    Frame("host", "eth0", 1_700_000_000_123_456_790, MARKED, outgoing=False, vlan=100),
    Frame("wire", "eth1", 1_700_000_000_123_456_791, MARKED[:20], outgoing=False),
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "capture.pcapng"
    path.write_bytes(pcapng(FRAMES, {7: "hop-in-200"}))
    return path


def test_scapy_reads_back_what_was_written(file: Path) -> None:
    with RawPcapNgReader(str(file)) as reader:
        read: list[tuple[bytes, Any]] = list(reader)
    assert [meta.ifname for _data, meta in read] == [b"wire:eth1", b"host:eth0", b"wire:eth1"]
    assert [(meta.tshigh << 32) + meta.tslow for _data, meta in read] == [
        frame.time_ns for frame in FRAMES
    ]
    assert {meta.tsresol for _data, meta in read} == {10**9}
    assert [meta.direction for _data, meta in read] == [2, 1, 1]
    assert [meta.comments for _data, meta in read] == [[b"hop-in-200"], [b"hop-in-200"], None]
    assert [len(data) for data, _meta in read] == [51, 55, 20]
    assert read[1][0][12:16] == b"\x81\x00\x00\x64"


@pytest.mark.skipif(not shutil.which("tshark"), reason="tshark is not installed")
def test_tshark_reads_it(file: Path) -> None:
    argv = ["tshark", "-r", str(file), "-T", "fields", "-e", "frame.interface_name"]
    done = subprocess.run(
        [*argv, "-e", "frame.time_epoch", "-e", "vlan.id"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line.split("\t") for line in done.stdout.splitlines()] == [
        ["wire:eth1", "1700000000.123456789", ""],
        ["host:eth0", "1700000000.123456790", "100"],
        ["wire:eth1", "1700000000.123456791", ""],
    ]


def test_no_frames_make_an_empty_file() -> None:
    assert len(pcapng((), {})) == 28
