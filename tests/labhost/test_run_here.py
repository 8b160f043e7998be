"""``--on here``, ``lab all``, ``lab doctor`` and ``lab down``, as a user calls them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.here.features import Feature, look
from lab.images.build import ensure
from lab.images.progress import Silent

ROOT = Path(__file__).parents[2]
SECONDS = 300.0
NEEDED = (Feature.ROOT, Feature.NAMESPACES, Feature.TAP, Feature.MACVTAP, Feature.TRACING)
TRACING = Path("/sys/kernel/tracing/instances")

pytestmark = pytest.mark.labhost


@pytest.fixture(scope="module", autouse=True)
def _images() -> None:
    for name in ("labhost", "guest"):
        ensure(name, Silent())


@pytest.fixture(scope="module")
def _able() -> None:
    for feature, error in look(NEEDED).items():
        if error is not None:
            reason = f"{feature}: {error.message}"
            if os.environ.get("CI") == "true" and os.geteuid() == 0:
                pytest.fail(reason, pytrace=False)
            pytest.skip(reason)


@pytest.fixture
def ports() -> Iterator[tuple[str, str]]:
    """Two ports of the machine with a cable between them: a veth pair."""
    near, far = f"hla{os.getpid()}"[:15], f"hlb{os.getpid()}"[:15]
    subprocess.run(["ip", "link", "add", near, "type", "veth", "peer", "name", far], check=True)
    subprocess.run(["ip", "address", "add", "198.51.100.1/24", "dev", near], check=True)
    subprocess.run(["ip", "link", "set", near, "up"], check=True)
    yield near, far
    subprocess.run(["ip", "link", "del", near], check=True)


def start(environment: dict[str, str], folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "lab", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=environment,
    )


def lab(environment: dict[str, str], folder: Path, *arguments: str) -> tuple[int, str, str]:
    with start(environment, folder, *arguments) as process:
        out, err = process.communicate(timeout=SECONDS)
    return process.returncode, out, err


def result(environment: dict[str, str], folder: Path, *arguments: str) -> dict[str, Any]:
    status, out, err = lab(environment, folder, "run", *arguments, "--on", "here", "--json")
    document: dict[str, Any] = json.loads(out)
    assert document["status"] == status, err
    return document


def machine() -> tuple[set[str], set[str], set[str]]:
    """What of the machine a run could leave changed: devices, tap nodes, tracing instances."""
    return (
        {path.name for path in Path("/sys/class/net").iterdir()},
        {path.name for path in Path("/dev").glob("tap*")},
        {path.name for path in TRACING.glob("hoplab-*")},
    )


def namespaces() -> set[int]:
    """The network namespaces that any process is in."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/ns/net"):
        try:
            found.add(link.stat().st_ino)
        except OSError:
            continue  # it ended while we looked
    return found


def descendants(pid: int) -> set[int]:
    found: set[int] = set()
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, file.read_text().split()):
            found |= {child} | descendants(child)
    return found


def await_gone(pids: set[int]) -> set[int]:
    """Those that are still there after a while; a zombie counts as gone."""
    deadline = time.monotonic() + 20.0
    left = pids
    while left and time.monotonic() < deadline:
        left = {pid for pid in left if _alive(pid)}
        time.sleep(0.05)
    return left


def _alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def wait_for(stage: str, process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if f"✓ {stage} " in line:
            return
    pytest.fail(f"the run ended before the end of {stage}")


@pytest.mark.usefixtures("_able")
@pytest.mark.parametrize("name", ["e1000", "virtio", "macvtap", "multiqueue"])
def test_paths_without_vhost_pass_here(
    name: str, environment: dict[str, str], tmp_path: Path
) -> None:
    before = machine()
    document = result(environment, tmp_path, name, "--set", "vhost=off")
    # Without KVM the exits of a guest cannot be counted, which is no failure.
    assert document["outcome"] in {"pass", "skip"}, document
    assert document["place"] == "here"
    assert document["accelerator"]["labhost"] is None
    assert document["accelerator"]["guest"] in {"kvm", "tcg"}
    assert document["versions"]["host_kernel"] == os.uname().release
    assert {path["carrier"] for path in document["paths"]} == {"qemu"}
    assert machine() == before


@pytest.mark.usefixtures("_able")
def test_a_wrong_expectation_is_red_here_too(environment: dict[str, str], tmp_path: Path) -> None:
    document = result(environment, tmp_path, "e1000", "--sabotage", "wrong-driver")
    assert document["status"] == 1
    assert {c["name"] for c in document["checks"] if c["outcome"] == "fail"} == {"driver"}


@pytest.mark.parametrize(
    ("name", "feature"), [("vhost", Feature.VHOST), ("passthrough", Feature.VFIO)]
)
@pytest.mark.usefixtures("_able")
def test_what_the_kernel_lacks_ends_3_and_is_named(
    name: str, feature: Feature, environment: dict[str, str], tmp_path: Path
) -> None:
    missing = look([feature])[feature]
    if missing is None:
        pytest.skip(f"this machine has {feature}")
    document = result(environment, tmp_path, name)
    assert document["status"] == 3
    assert missing.message in document["error"]["message"]
    assert document["error"]["hint"].startswith(missing.hint)
    assert not list(tmp_path.glob("lab-results"))


@pytest.mark.usefixtures("_able")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("stage", ["network", "nic"])
def test_an_ended_lab_leaves_nothing(
    stage: str, number: signal.Signals, environment: dict[str, str], tmp_path: Path
) -> None:
    before, spaces = machine(), namespaces()
    with start(environment, tmp_path, "run", "virtio", "--on", "here") as process:
        wait_for(stage, process)
        below = descendants(process.pid)
        assert below
        process.send_signal(number)
        process.communicate(timeout=SECONDS)
    assert process.returncode == (-9 if number is signal.SIGKILL else 130)
    assert not await_gone(below)
    assert machine() == before
    assert namespaces() <= spaces
    if number is not signal.SIGKILL:
        assert not list((tmp_path / "runtime").rglob("run-*"))


@pytest.mark.usefixtures("_able")
def test_the_tracing_of_a_lab_that_died_with_its_worker_is_removed(
    environment: dict[str, str], tmp_path: Path
) -> None:
    if not TRACING.is_dir():
        pytest.skip(f"no tracefs is mounted on {TRACING.parent}: what is left cannot be seen")
    before = machine()
    with start(environment, tmp_path, "run", "virtio", "--on", "here") as process:
        wait_for("nic", process)
        below = descendants(process.pid)
        deadline = time.monotonic() + 60
        while machine() == before and time.monotonic() < deadline:
            time.sleep(0.05)
        assert machine() != before
        os.kill(_worker(process.pid), signal.SIGKILL)
        process.kill()
        process.communicate(timeout=SECONDS)
    assert not await_gone(below)
    assert machine() != before
    status, out, _ = lab(environment, tmp_path, "down", "--orphans")
    assert (status, out) == (0, "removed: tracing instances of killed runs (1)\n")
    assert machine() == before


def _worker(lab_pid: int) -> int:
    """It is a child of the lab; guests and their helpers are its own."""
    children = Path(f"/proc/{lab_pid}/task/{lab_pid}/children").read_text().split()
    (worker,) = [
        child
        for child in children
        if b"lab.here.worker" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]
    return int(worker)


@pytest.mark.usefixtures("_able")
def test_two_ports_are_used_and_back(
    environment: dict[str, str], tmp_path: Path, ports: tuple[str, str]
) -> None:
    near, far = ports
    before = _shown(near), _shown(far)
    document = result(environment, tmp_path, "virtio", "--uplink", near, "--tester", far)
    # Without KVM the exits of a guest cannot be counted, which is no failure.
    assert document["outcome"] in {"pass", "skip"}, document
    assert {near, far} < {hop["device"] for hop in document["paths"][0]["hops"]}
    assert (_shown(near), _shown(far)) == before
    assert not list((tmp_path / "runtime").rglob("ports-*"))


@pytest.mark.usefixtures("_able")
def test_the_ports_of_a_killed_lab_come_back(
    environment: dict[str, str], tmp_path: Path, ports: tuple[str, str]
) -> None:
    near, far = ports
    before = _shown(near), _shown(far)
    arguments = ("run", "virtio", "--on", "here", "--uplink", near, "--tester", far)
    with start(environment, tmp_path, *arguments) as process:
        wait_for("network", process)
        below = descendants(process.pid)
        process.kill()
        process.communicate(timeout=SECONDS)
    assert not await_gone(below)
    assert not Path(f"/sys/class/net/{near}").exists()
    status, out, _ = lab(environment, tmp_path, "down", "--orphans")
    assert (status, out) == (0, f"put back: {near}, {far}\n")
    assert (_shown(near), _shown(far)) == before
    assert lab(environment, tmp_path, "down", "--orphans")[:2] == (0, "nothing was left behind\n")


def _shown(device: str) -> object:
    """State and addresses of a device; not its link-local address, which the kernel makes."""
    command = ["ip", "-json", "address", "show", "dev", device]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (shown,) = json.loads(done.stdout)
    addresses = [each["local"] for each in shown["addr_info"] if each["scope"] != "link"]
    return shown["ifname"], shown["address"], shown["mtu"], "UP" in shown["flags"], addresses


@pytest.mark.usefixtures("_able")
def test_all_goes_on_after_a_failure(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("topology: broken\n")
    arguments = ("all", "virtio", "./broken.yaml", "e1000", "--on", "here", "--json")
    status, out, _ = lab(environment, tmp_path, *arguments)
    document = json.loads(out)
    assert status == document["status"] == 2
    first, broken, last = document["results"]
    assert (first["topology"], last["topology"]) == ("virtio", "e1000")
    assert broken["error"]["mistakes"]
    outcomes = [each["outcome"].replace("skip", "pass") for each in document["results"]]
    assert outcomes == ["pass", "error", "pass"]


def test_all_runs_in_lab_hosts(environment: dict[str, str], tmp_path: Path) -> None:
    status, out, err = lab(environment, tmp_path, "all", "vhost", "virtio")
    assert status == 0, out + err
    rows = [line.split() for line in out.splitlines()]
    assert any(row[:3] == ["vhost", "pass", "vhost-net"] for row in rows)
    assert any(row[:3] == ["virtio", "pass", "QEMU"] for row in rows)
    assert "2 of 2 topologies" in out


def test_an_interrupted_all_leaves_nothing(environment: dict[str, str], tmp_path: Path) -> None:
    with start(environment, tmp_path, "all", "vhost", "virtio") as process:
        wait_for("images", process)
        deadline = time.monotonic() + 60
        while len(below := descendants(process.pid)) < 4 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert not await_gone(below)
    assert not list((tmp_path / "runtime").rglob("run-*"))


def test_the_doctor_says_that_lab_hosts_work(environment: dict[str, str], tmp_path: Path) -> None:
    status, out, err = lab({**environment, "COLUMNS": "80"}, tmp_path, "doctor")
    assert status == 0, err
    assert "Lab hosts work here" in out
    pasted = [line for line in out.splitlines() if line.startswith("        $ ")]
    assert all(len(line) <= 80 for line in out.splitlines() if line not in pasted)
    status, out, _ = lab(environment, tmp_path, "doctor", "--json")
    document = json.loads(out)
    assert status == 0
    assert document["works"] is True
    for finding in (*document["labhost"], *document["here"]):
        assert finding["grade"] == "PASS" or finding["fix"]


def test_the_doctor_ends_3_where_lab_hosts_cannot_work(
    environment: dict[str, str], tmp_path: Path
) -> None:
    bad = {**environment, "XDG_CACHE_HOME": str(tmp_path / "cache"), "PATH": "/nonexistent"}
    status, out, _ = lab(bad, tmp_path, "doctor", "--json")
    document = json.loads(out)
    assert status == 3
    assert document["works"] is False
    failed = {each["name"]: each["fix"] for each in document["labhost"] if each["grade"] == "FAIL"}
    assert failed["setpriv"] == "apt-get install util-linux"
    assert "packages" in failed
