"""Ports lent to a run and back again; veth pairs stand for them, in a namespace of the test's."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab import rundir
from lab.errors import CannotError, LeftBehindError, UsageError
from lab.host import lend as lending
from lab.host.host import Host
from lab.host.lend import LentPort, Returned, give_back_orphans, inspect, lend
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


def killed_run(near: str = "near", far: str = "far") -> None:
    """A run that had two ports when it was killed."""
    code = KILLED.replace("near", near).replace("far", far)
    done = subprocess.run(
        [sys.executable, "-c", code, str(rundir._ROOTS)],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


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
    assert [str(each) for each in before[0].addresses] == ["192.0.2.1/24"]
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
    killed_run()
    assert not host.exists(HOST, "near")
    with pytest.raises(UsageError, match="there is no port near") as told:
        inspect(HOST, "near")
    assert "lab down --orphans" in told.value.hint
    assert give_back_orphans() == Returned(names=("near", "far"))
    assert (inspect(HOST, "near"), inspect(WIRE, "far")) == before
    assert give_back_orphans() == Returned()
    assert not state_folders(tmp_path)


def test_a_run_that_lives_keeps_its_ports(host: Host) -> None:
    with lend({HOST: "near", WIRE: "far"}):
        assert give_back_orphans() == Returned()
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


USES = {
    "default route": ("ip route add default via 192.0.2.9", "a default route"),
    "default route of a table": ("ip route add default dev near table 100", "a default route"),
    "route": ("ip route add 198.51.100.0/24 via 192.0.2.9", "routes lead over it"),
    "route of a table": ("ip route add 198.51.100.0/24 dev near table 100", "routes lead over it"),
    "route of several hops": (
        "ip route add 198.51.100.0/24 nexthop via 192.0.2.9 nexthop via 192.0.2.10",
        "routes lead over it",
    ),
    "default route of several hops": (
        "ip route add default nexthop via 192.0.2.9 nexthop via 192.0.2.10",
        "a default route",
    ),
    "IPv6 route": ("ip -6 route add 2001:db8:9::/64 dev near", "routes lead over it"),
    "route by its address": (
        "ip route add 198.51.100.0/24 dev other src 192.0.2.1",
        "routes lead over it",
    ),
    "upper device": ("ip link add up0 link near type macvlan", "up0 stands on it"),
    "root qdisc": ("tc qdisc add dev near root pfifo", r"of its own \(pfifo\)"),
    "the kernel's own qdisc, by hand": (
        "tc qdisc add dev near root handle 1: pfifo_fast",
        r"of its own \(pfifo_fast\)",
    ),
    "ingress qdisc": ("tc qdisc add dev near ingress", r"of its own \(ingress\)"),
    "clsact": ("tc qdisc add dev near clsact", r"of its own \(clsact\)"),
    "lifetime": (
        "ip address add 192.0.2.5/24 dev near valid_lft 1000 preferred_lft 500",
        "192.0.2.5/24 has a lifetime",
    ),
    "deprecated": (
        "ip address add 2001:db8::5/64 dev near preferred_lft 0",
        "2001:db8::5/64 has a lifetime",
    ),
    "noprefixroute": (
        "ip address add 192.0.2.5/24 dev near noprefixroute",
        "192.0.2.5/24 has noprefixroute",
    ),
}


@pytest.mark.parametrize(("words", "reason"), USES.values(), ids=USES.keys())
def test_a_port_that_somebody_uses_is_refused(words: str, reason: str, tmp_path: Path) -> None:
    ip("link", "add", "other", "up", "type", "bridge")
    subprocess.run(words.split(), check=True, capture_output=True)
    with pytest.raises(CannotError, match=reason), lend({HOST: "near", WIRE: "far"}):
        pass
    assert not state_folders(tmp_path)


def test_a_queue_for_each_core_is_the_kernels_own() -> None:
    ip("tuntap", "add", "mode", "tap", "name", "many", "multi_queue")
    ip("link", "set", "many", "up")
    shown = subprocess.run(["tc", "qdisc", "show", "dev", "many"], capture_output=True, check=True)
    assert b"qdisc mq 0: root" in shown.stdout
    inspect(HOST, "many")


ADDRESSES = (
    "192.0.2.2/24",  # a second one below the first
    "192.0.2.3/24 broadcast 192.0.2.200 label near:x",
    "10.9.0.1 peer 10.9.0.2/32",
    "203.0.113.1/24 metric 50",
    "169.254.7.7/16 scope link",
    "2001:db8::1/64 nodad",
    "2001:db8::2/64",
    "2001:db8::3 peer 2001:db8::4/128",
    "fe80::77/64",
)


@pytest.mark.parametrize("killed", [False, True], ids=["ended", "killed"])
def test_addresses_are_the_same_ones(killed: bool) -> None:
    ip("link", "set", "far", "up")
    for words in ADDRESSES:
        ip("address", "add", *words.split(), "dev", "near")
    before = shown_addresses()
    assert len(before) == 1 + len(ADDRESSES)
    if killed:
        killed_run()
        give_back_orphans().check()
    else:
        with lend({HOST: "near", WIRE: "far"}):
            pass
    assert shown_addresses() == before


def shown_addresses() -> list[str]:
    """As iproute2 tells them; without those that only the kernel makes, which are under way."""
    command = ["ip", "-oneline", "address", "show", "dev", "near"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [
        line.replace(" tentative", "").split("near", 1)[1] for line in done.stdout.splitlines()
    ]
    return [line for line in lines if "inet6 fe80::77/" in line or "inet6 fe80:" not in line]


def test_an_address_that_is_not_back_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sabotage: nothing gives it back."""
    monkeypatch.setattr(lending, "add_missing", lambda *_: None)
    with (
        pytest.raises(LeftBehindError, match=r"port near: addresses was .*192\.0\.2\.1") as told,
        lend({HOST: "near"}),
    ):
        pass
    assert "lab down --orphans tries again" in told.value.hint


def test_settings_of_its_neighbours_come_back() -> None:
    setting = Path("/proc/sys/net/ipv4/neigh/near/mcast_solicit")
    setting.write_text("7")
    with lend({HOST: "near"}):
        pass
    assert setting.read_text() == "7\n"


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


@pytest.fixture
def second_pair() -> None:
    ip("link", "add", "near2", "type", "veth", "peer", "name", "far2")


def test_a_broken_orphan_keeps_no_other_away(tmp_path: Path, second_pair: None) -> None:
    """One has lost a port for ever, one has a journal that is cut short, the third is whole."""
    ip("link", "add", "near3", "type", "veth", "peer", "name", "far3")
    before = inspect(HOST, "near")
    killed_run("near2", "far2")
    gone = state_folders(tmp_path)[0]
    subprocess.run(["nsenter", f"--net={gone / HOST}", "ip", "link", "del", "near2"], check=True)
    killed_run("near3", "far3")
    (cut,) = set(state_folders(tmp_path)) - {gone}
    (cut / "journal.json").write_text((cut / "journal.json").read_text()[:100])
    killed_run()
    returned = give_back_orphans()
    assert inspect(HOST, "near") == before
    assert returned.names == ("near", "far")
    assert set(returned.folders) == {gone, cut}
    with pytest.raises(LeftBehindError) as told:
        returned.check()
    assert "port near2: it is gone; port far2: it is gone" in told.value.message
    assert f"{cut}/journal.json does not say which ports were lent" in told.value.message
    assert f"nsenter --net={cut}/host ip link" in told.value.message
    for folder in (gone, cut):
        assert f"umount -q {folder}/*; rm -r {folder}" in told.value.hint
        subprocess.run(f"umount -q {folder}/*; rm -r {folder}", shell=True, check=True)
    assert give_back_orphans() == Returned()


def test_one_port_of_two_that_is_gone_keeps_not_the_other(
    tmp_path: Path, second_pair: None
) -> None:
    before = inspect(HOST, "near")
    killed_run("near", "far2")
    (folder,) = state_folders(tmp_path)
    ip("link", "del", "near2")
    assert give_back_orphans().failures == ("port far2: it is gone",)
    assert inspect(HOST, "near") == before
    ip("link", "set", "near", "mtu", "1300")  # its owner's from here on
    assert give_back_orphans().failures == ("port far2: it is gone",)
    assert inspect(HOST, "near").mtu == 1300
    assert [file.name for file in folder.iterdir() if lending._is_namespace(file)] == [WIRE]


def test_a_run_that_was_killed_before_its_journal_is_forgotten(tmp_path: Path) -> None:
    killed_run()
    (folder,) = state_folders(tmp_path)
    give_back_orphans().check()
    folder.mkdir()
    (folder / "journal.new").write_text("[{")
    assert give_back_orphans() == Returned()
    assert not state_folders(tmp_path)


def bring_by_hand(tmp_path: Path) -> None:
    """What a user may do who finds the port gone."""
    killed_run()
    (folder,) = state_folders(tmp_path)
    for where, name in ((HOST, "near"), (WIRE, "far")):
        inside = ["nsenter", f"--net={folder / where}", "ip", "link", "set", name]
        subprocess.run([*inside, "netns", str(os.getpid())], check=True)


def test_a_port_that_was_brought_by_hand_is_put_right(tmp_path: Path) -> None:
    before = inspect(HOST, "near"), inspect(WIRE, "far")
    bring_by_hand(tmp_path)
    assert inspect(HOST, "near") != before[0]
    give_back_orphans().check()
    assert (inspect(HOST, "near"), inspect(WIRE, "far")) == before


def test_a_port_at_home_that_is_in_use_is_left_alone(tmp_path: Path) -> None:
    bring_by_hand(tmp_path)
    ip("link", "add", "br0", "type", "bridge")
    ip("link", "set", "near", "master", "br0", "mtu", "1450", "up")
    left = subprocess.run(["ip", "link", "show", "near"], capture_output=True, check=True).stdout
    (failure,) = give_back_orphans().failures
    assert failure == (
        "port near: it is at home and left as it is, for it is in use: "
        "it is a port of a bridge or bond"
    )
    now = subprocess.run(["ip", "link", "show", "near"], capture_output=True, check=True).stdout
    assert now == left


def test_another_device_of_its_name_is_left_alone(tmp_path: Path) -> None:
    killed_run()
    (folder,) = state_folders(tmp_path)
    subprocess.run(["nsenter", f"--net={folder / HOST}", "ip", "link", "del", "near"], check=True)
    ip("link", "add", "near", "mtu", "1200", "type", "bridge")
    assert give_back_orphans().failures == (
        "port near: another device has its name now, which is left as it is",
        "port far: it is gone",
    )
    assert inspect(HOST, "near").mtu == 1200


def test_a_port_whose_name_is_taken_stays_where_it_is(tmp_path: Path) -> None:
    killed_run()
    ip("link", "add", "near", "mtu", "1200", "type", "bridge")
    (failure,) = give_back_orphans().failures
    assert failure == "port near: it cannot be moved home: File exists"
    assert inspect(HOST, "near").mtu == 1200
    ip("link", "del", "near")
    give_back_orphans().check()
    assert inspect(HOST, "near").mtu == 1400


def test_a_journal_that_cannot_be_written_moves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = inspect(HOST, "near")

    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with (
        pytest.raises(CannotError, match="cannot be written: No space left on device"),
        lend({HOST: "near"}),
    ):
        pass
    assert inspect(HOST, "near") == before
    assert not state_folders(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_giving_back(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = inspect(HOST, "near")
    restore = lending._restore

    def interrupted(netlink: Any, index: int, port: LentPort) -> None:
        os.kill(os.getpid(), number)
        restore(netlink, index, port)

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(lending, "_restore", interrupted)
    was = signal.signal(number, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt), lend({HOST: "near"}):
            pass
    finally:
        signal.signal(number, was)
    assert inspect(HOST, "near") == before
    assert not state_folders(tmp_path)
