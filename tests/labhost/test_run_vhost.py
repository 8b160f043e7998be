"""The whole way, as a user goes it: ``lab run`` in a process of its own."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from lab.images.build import ensure
from lab.images.progress import Silent
from lab.model.load import load_topology
from lab.plan import sabotage
from lab.plan.build import build
from lab.plan.places import labhost_facts
from lab.saved import read
from tests.labhost.runs import Outcome

ROOT = Path(__file__).parents[2]
VHOST = ROOT / "topologies/vhost.yaml"
SECONDS = 180.0
"""For one run, on the slowest machine that anybody will have patience for."""

CHECKS = {
    "reach.arp",
    *(f"reach.{protocol}.{way}" for protocol in ("icmp", "udp", "tcp") for way in ("in", "out")),
    "checksum",
    "hops.in",
    "hops.out",
    "strangers",
    "carrier",
    "driver",
    "exits",
    "captures",
    "accelerator",
    "evidence",
    "left-behind",
}

FULL_FRAMES = {f"reach.{kind}.{way}" for kind in ("icmp", "udp") for way in ("in", "out")}
SEGMENTS = {"reach.tcp.in", "reach.tcp.out"}
"""Segments that were joined on their way (GRO) pass a port with a small MTU, single ones do not."""

pytestmark = pytest.mark.labhost


@pytest.fixture(scope="module", autouse=True)
def _images() -> None:
    """Built once, so that no test's time depends on being the first."""
    for name in ("labhost", "guest"):
        ensure(name, Silent())


def start(
    environment: dict[str, str], folder: Path, *arguments: str, fresh: bool = True
) -> subprocess.Popen[str]:
    """Most runs of the tests are the only ones of their kind: nothing is worth keeping."""
    return subprocess.Popen(
        [sys.executable, "-m", "lab", "run", *arguments, *(("--fresh",) if fresh else ())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=environment,
    )


def run(
    environment: dict[str, str], folder: Path, *arguments: str
) -> tuple[int, dict[str, Any], str]:
    """Exit status, the JSON document, and standard error."""
    with start(environment, folder, *arguments, "--json") as process:
        out, err = process.communicate(timeout=SECONDS)
    return process.returncode, json.loads(out), err


def red(document: dict[str, Any]) -> set[str]:
    return {check["name"] for check in document["checks"] if check["outcome"] in {"fail", "error"}}


def descendants(pid: int) -> set[int]:
    """All processes below one."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue  # it ended while we looked
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def alive(pids: set[int]) -> set[int]:
    """Those that still run; a zombie has ended."""
    running = set()
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state != "Z":
            running.add(pid)
    return running


def gone(pids: set[int], seconds: float) -> bool:
    """Whether all have ended within ``seconds``; a pidfd becomes readable at its process's end."""
    deadline = time.monotonic() + seconds
    for pid in pids:
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            select.select([descriptor], [], [], max(deadline - time.monotonic(), 0))
            os.close(descriptor)
    return not alive(pids)


def wait_for_end_of(stage: str, process: subprocess.Popen[str]) -> None:
    """Read the run's lines up to the one of a finished stage."""
    assert process.stdout is not None
    for line in process.stdout:
        if f"✓ {stage} " in line:
            return
    pytest.fail(f"the run ended before the end of {stage}")


def test_passes_with_every_proof(environment: dict[str, str], tmp_path: Path) -> None:
    status, document, _ = run(environment, tmp_path, "vhost", "--out", "results")
    assert status == 0, document
    assert document["outcome"] == "pass"
    assert {check["name"] for check in document["checks"]} == CHECKS
    assert {path["direction"] for path in document["paths"]} == {"in", "out"}
    assert all(hop["seen"] for path in document["paths"] for hop in path["hops"])
    assert document["accelerator"]["guest"] == "kvm"
    assert "vhost=on" in document["commands"]["guest"]
    assert {"capture.pcapng", "evidence.json", "result.json"} <= document["artifacts"].keys()
    for file in document["artifacts"].values():
        assert Path(file).is_file()
    assert json.loads((tmp_path / "results/result.json").read_text()) == document
    assert (tmp_path / "results/report.html").read_text() == read(tmp_path / "results").page()
    assert document["machine"].keys() == {"here", "cpu", "clock_source"}
    (costs,) = document["costs"].values()
    assert costs["host_hops"] == 3
    assert costs["latency"]["lost"] == 0
    assert costs["observer"] > 0
    assert set(costs["not_measured"]) == {"zero_loss", "tcp"}
    assert_vhost_counts(document)
    burst = counts(document, "burst")
    assert (burst["qemu_syscalls"], burst["exits_to_qemu"]) == (0, 0)
    assert 0 < burst["kicks"] <= 0.05
    assert 0 < burst["vhost_wakeups"] <= 0.05


def counts(document: dict[str, Any], pattern: str) -> dict[str, float]:
    """Means by name, of the only NIC."""
    (costs,) = document["costs"].values()
    (found,) = (each for each in costs["counted"] if each["pattern"] == pattern)
    return {name: count["mean"] for name, count in found["counts"].items()}


def assert_vhost_counts(document: dict[str, Any]) -> None:
    """What vhost costs whatever else the machine does: it is counted, and nothing of it is time.

    All run in order on one CPU, so nobody is still awake when a packet comes.
    """
    seen = counts(document, "ping-pong")
    assert (seen["qemu_syscalls"], seen["exits_to_qemu"]) == (0, 0)
    assert seen["kicks"] == pytest.approx(1, rel=0.01)
    assert seen["vhost_wakeups"] == pytest.approx(1, rel=0.01)
    assert seen["interrupts_injected"] == pytest.approx(1, rel=0.01)


def test_counts_are_the_same_while_a_core_is_busy(
    environment: dict[str, str], tmp_path: Path
) -> None:
    busy = ["taskset", "-c", "0", "sh", "-c", "while :; do :; done"]
    with subprocess.Popen(busy) as spinning:
        try:
            status, document, _ = run(environment, tmp_path, "vhost")
        finally:
            spinning.kill()
    assert status == 0, document
    assert_vhost_counts(document)


def test_full_costs_have_rates_and_tcp(environment: dict[str, str], tmp_path: Path) -> None:
    status, document, _ = run(environment, tmp_path, "vhost", "--costs", "full")
    assert status == 0, document
    (costs,) = document["costs"].values()
    assert costs["not_measured"] == {}
    assert [each["size"] for each in costs["zero_loss"]] == [64, 512, 1518]
    assert all(each["pps"] > 0 for each in costs["zero_loss"])
    assert all(value > 0 for value in costs["tcp"].values())
    assert costs["latency"]["sent"] == 500
    assert_vhost_counts(document)


def test_vhost_off_but_expected_names_the_carrier(
    environment: dict[str, str], tmp_path: Path
) -> None:
    text = VHOST.read_text().replace("vhost: {{ vhost | default('on') }}", "vhost: off")
    assert "vhost: off" in text
    (tmp_path / "off.yaml").write_text(text)
    status, document, _ = run(environment, tmp_path, "./off.yaml")
    assert status == 1
    assert red(document) == {"carrier"}


FAULTS = sabotage.applicable(build(load_topology("vhost", {}), labhost_facts("t")))


@pytest.mark.parametrize(
    ("words", "fault"),
    [(f"vhost --sabotage {fault.name}", fault) for fault in FAULTS],
    ids=[fault.name for fault in FAULTS],
)
def test_each_sabotage_turns_exactly_its_check_red(
    words: str, fault: sabotage.Sabotage, outcome: Outcome
) -> None:
    if fault.check == "reach.":
        assert outcome.red - SEGMENTS == FULL_FRAMES
    else:
        assert outcome.red == {fault.check}
    assert outcome.status == 1
    assert outcome.document["sabotage"] == fault.name


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("stage", ["images", "lab host", "network", "guest", "nic"])
def test_an_interrupted_run_leaves_nothing(
    stage: str, number: signal.Signals, environment: dict[str, str], tmp_path: Path
) -> None:
    """``stage`` is the one after whose end the signal comes."""
    with start(environment, tmp_path, "vhost") as process:
        wait_for_end_of(stage, process)
        below = descendants(process.pid)
        process.send_signal(number)
        _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 130, err
    assert err.startswith("lab: interrupted during ")
    assert err.endswith("; nothing was left behind\n")
    assert len(err.splitlines()) == 1
    assert not alive(below)
    assert {path.name for path in tmp_path.iterdir()} == {"runtime"}
    assert not list((tmp_path / "runtime").rglob("run-*"))


def test_of_a_lab_host_that_dies_the_console_is_among_the_results(
    environment: dict[str, str], tmp_path: Path
) -> None:
    with start(environment, tmp_path, "vhost", "--out", "out") as process:
        wait_for_end_of("guest", process)
        (labhost,) = (
            pid
            for pid in descendants(process.pid)
            if b"qemu-system" in Path(f"/proc/{pid}/cmdline").read_bytes()
        )
        os.kill(labhost, signal.SIGKILL)
        _, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, "QEMU ended with SIGKILL" in err) == (4, True), err
    # The kernel inside has said of the guest's first steps what its KVM does not do for it.
    assert "kvm" in (tmp_path / "out/labhost-console.log").read_text()
    assert "labhost-console.log" in (tmp_path / "out/report.html").read_text()


def test_a_killed_lab_takes_its_lab_host_along(environment: dict[str, str], tmp_path: Path) -> None:
    with start(environment, tmp_path, "vhost") as process:
        wait_for_end_of("lab host", process)
        below = descendants(process.pid)
        assert below
        process.kill()
        process.communicate(timeout=SECONDS)
    assert gone(below, 10.0)


def test_the_next_run_clears_what_a_killed_one_left(
    environment: dict[str, str], tmp_path: Path
) -> None:
    with start(environment, tmp_path, "vhost") as process:
        wait_for_end_of("lab host", process)
        process.kill()
        process.communicate(timeout=SECONDS)
    status, document, _ = run(environment, tmp_path, "vhost")
    assert status == 0, document
    assert not list((tmp_path / "runtime").rglob("run-*"))
