"""Descriptors that a QEMU inherits, opened where device nodes may not lie about."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from lab.host.fds import open_fds
from lab.host.host import Host
from lab.host.operations import Operations
from lab.plan.data import Fd
from lab.plan.operations import AddMacvtap, AddVeth
from lab.plan.where import HOST, WIRE

pytestmark = pytest.mark.netns

FD = Fd(name="fd0", kind="macvtap", device="mvt0")
MACVTAP = AddMacvtap(name="mvt0", port="port0", mode="bridge", mac="52:54:00:00:00:01")


@pytest.fixture
def nodev(host: Host, tmp_path: Path) -> Path:
    """A run folder as systemd makes it: /run/user/0 is mounted so."""
    del host  # what is mounted is seen in its mount namespace alone
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "nodev,nosuid", "tmpfs", str(tmp_path)], check=True
    )
    return tmp_path


def test_a_macvtap_is_opened_from_a_folder_that_takes_no_devices(
    host: Host, operations: Operations, nodev: Path
) -> None:
    """Every run has the same indexes in fresh namespaces: /dev has the node of the first."""
    operations.apply(
        [
            AddVeth(name="port0", peer="port1", where=WIRE, peer_where=WIRE),
            MACVTAP.model_copy(update={"where": WIRE}),
            AddVeth(name="port0", peer="port1"),
            MACVTAP,
        ]
    )
    index = host.index(HOST, "mvt0")
    assert host.index(WIRE, "mvt0") == index
    number = Path(f"/sys/class/net/mvt0/tap{index}/dev").read_text().strip()
    for _ in range(2):  # one after the other, as a hotplug opens it again
        with open_fds(host, [FD], nodev) as opened:
            status = os.fstat(opened["fd0"])
            assert stat.S_ISCHR(status.st_mode)
            assert f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}" == number
        assert not [file for file in nodev.rglob("*") if file.is_char_device()]
        assert str(nodev / "mvt0.node") not in Path("/proc/self/mounts").read_text()
    assert operations.undo() == ()
