"""Ports lent to a run and back again; veth pairs stand for them, in a namespace of the test's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab import rundir
from lab.errors import CannotError, UsageError
from lab.host import lend as lending
from lab.host.host import Host
from lab.host.lend import give_back_orphans, inspect, lend
from lab.host.operations import Operations
from lab.plan.operations import AddAddress, AddBridge, AddMember, AddVeth, FillChecksums
from lab.plan.where import HOST, WIRE

pytestmark = pytest.mark.netns

ROOT = Path(__file__).parents[2]
KILLED = f"""
import os, signal, sys
from pathlib import Path
from lab import rundir
from lab.host.lend import lend
rundir._ROOTS = Path(sys.argv[1])
with lend({{"{HOST}": "near", "{WIRE}": "far"}}):
    print("lent", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture(autouse=True)
def pair(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del host  # the test is in a namespace of its own from here on
    monkeypatch.setattr(rundir, "_ROOTS", tmp_path / "state")
    ip("link", "add", "near", "address", "52:54:00:00:00:07", "type", "veth", "peer", "name", "far")
    ip("link", "set", "near", "mtu", "1400", "up")
    ip("address", "add", "192.0.2.1/24", "dev", "near")
    Path("/proc/sys/net/ipv4/conf/near/rp_filter").write_text("2")


def state_folders(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "state").glob("ports-*"))


def test_a_port_is_away_and_comes_back_as_it_was(host: Host, tmp_path: Path) -> None:
    before = inspect(HOST, "near"), inspect(WIRE, "far")
    with lend({HOST: "near", WIRE: "far"}) as files:
        assert set(files) == {HOST, WIRE}
        assert not host.exists(HOST, "near")
        assert not host.exists(HOST, "far")
    assert (inspect(HOST, "near"), inspect(WIRE, "far")) == before
    assert before[0].mtu == 1400
    assert before[0].addresses == ("192.0.2.1/24",)
    assert before[0].settings["ipv4/conf/near/rp_filter"] == "2"
    assert before[0].up
    assert not before[1].up
    assert not state_folders(tmp_path)


def test_what_a_run_changed_is_put_back() -> None:
    before = inspect(HOST, "near")
    with lend({HOST: "near", WIRE: "far"}) as files:
        inside = ["nsenter", f"--net={files[HOST]}", "ip", "link", "set", "near"]
        subprocess.run([*inside, "mtu", "1300", "address", "52:54:00:00:00:99"], check=True)
        subprocess.run(["nsenter", f"--net={files[HOST]}", "ip", "link", "add", "br0", "type",
                        "bridge"], check=True)  # fmt: skip
        subprocess.run([*inside, "master", "br0"], check=True)
    assert inspect(HOST, "near") == before


def test_a_killed_run_is_put_back_by_the_next(host: Host, tmp_path: Path) -> None:
    before = inspect(HOST, "near"), inspect(WIRE, "far")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "state")],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not host.exists(HOST, "near")
    with pytest.raises(UsageError, match="there is no port near") as told:
        inspect(HOST, "near")
    assert "lab down --orphans" in told.value.hint
    assert give_back_orphans() == ("near", "far")
    assert (inspect(HOST, "near"), inspect(WIRE, "far")) == before
    assert give_back_orphans() == ()
    assert not state_folders(tmp_path)


def test_a_run_that_lives_keeps_its_ports(host: Host) -> None:
    with lend({HOST: "near", WIRE: "far"}):
        assert give_back_orphans() == ()
        assert not host.exists(HOST, "near")


def test_a_killed_run_that_had_moved_nothing_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = inspect(HOST, "near")

    def refuse(_file: Path) -> None:
        raise CannotError("no namespace today")

    monkeypatch.setattr(lending, "keep", refuse)
    with pytest.raises(CannotError, match="no namespace today"), lend({HOST: "near"}):
        pass
    assert inspect(HOST, "near") == before
    assert not state_folders(tmp_path)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("route add default via 192.0.2.9", "it carries the machine's default route"),
        ("route add 198.51.100.0/24 via 192.0.2.9", "routes lead over it"),
        ("link add up0 link near type macvlan", "up0 stands on it"),
    ],
    ids=["default route", "route", "upper device"],
)
def test_a_port_that_somebody_uses_is_refused(words: str, reason: str, tmp_path: Path) -> None:
    ip(*words.split())
    with pytest.raises(CannotError, match=reason), lend({HOST: "near", WIRE: "far"}):
        pass
    assert not state_folders(tmp_path)


def test_a_port_of_somebodys_bridge_is_refused(host: Host) -> None:
    Operations(host).apply([AddBridge(name="br0"), AddMember(device="near", bridge="br0")])
    with pytest.raises(CannotError, match="it is a port of a bridge"):
        inspect(HOST, "near")


def test_checksums_are_filled_in_and_left_again(host: Host, operations: Operations) -> None:
    assert inspect(HOST, "near").offload
    operations.apply([AddVeth(name="v0", peer="v1"), FillChecksums(device="near")])
    assert not inspect(HOST, "near").offload
    assert operations.undo() == ()
    assert inspect(HOST, "near").offload


def test_an_address_is_back_even_if_the_run_gave_another(host: Host) -> None:
    before = inspect(HOST, "near")
    operations = Operations(host)
    with lend({WIRE: "far"}):
        operations.apply([AddAddress(device="near", cidr="10.0.0.1/24")])
        operations.undo()
    assert inspect(HOST, "near") == before
