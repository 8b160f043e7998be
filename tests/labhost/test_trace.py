"""One packet's life, as a user asks for it: ``lab trace`` in a process of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lab.images.build import ensure
from lab.images.progress import Silent
from tests.labhost.runs import lab

pytestmark = pytest.mark.labhost


@pytest.fixture(scope="module", autouse=True)
def _images() -> None:
    """Built once, so that no test's time depends on being the first."""
    for name in ("labhost", "guest"):
        ensure(name, Silent())


def trace(folder: Path, *arguments: str) -> dict[str, Any]:
    """The JSON document of ``lab trace``; the exit status is in it."""
    said = lab(folder, "trace", *arguments, "--perfetto", "trace.json")
    assert said.document["status"] == said.status
    assert json.loads((folder / "trace.json").read_text())["traceEvents"]
    return said.document


def red(document: dict[str, Any]) -> set[str]:
    return {check["name"] for check in document["checks"] if check["outcome"] in {"fail", "error"}}


def test_an_echo_is_followed_through_vhost_there_and_back(tmp_path: Path) -> None:
    document = trace(tmp_path, "vhost")
    assert document["outcome"] == "pass", document
    echo, probe = document["life"]
    assert (echo["loss"], probe["loss"]) == (None, None)
    actors = [span["actor"] for span in echo["spans"]]
    assert (actors[0], actors[-1]) == ("tester", "tester")
    assert {"nic", "host", "vhost", "kvm", "guest"} <= set(actors)
    assert "qemu" not in actors
    events = [step["event"] for step in echo["steps"] if step["strong"]]
    for event in ("skb_copy_datagram_iovec", "kvm_inj_virq", "kvm_entry", "capture", "kvm_exit"):
        assert event in events
    assert "icmp-in-1514.perfetto.json" in document["artifacts"]


def test_a_packet_that_a_filter_drops_is_last_seen_there(tmp_path: Path) -> None:
    document = trace(tmp_path, "vhost", "--sabotage", "drop-at-bridge")
    assert document["status"] == 1
    assert red(document) == {"trace.probe"}
    echo, probe = document["life"]
    assert echo["loss"] is None
    assert (probe["loss"]["seen_at"], probe["loss"]["reason"]) == ("eth0 ingress", "TC_INGRESS")


def test_a_packet_larger_than_the_ports_mtu_is_said_to_be(tmp_path: Path) -> None:
    document = trace(tmp_path, "vhost", "--sabotage", "small-mtu")
    assert document["status"] == 1
    assert red(document) == {"trace.echo", "trace.probe"}
    for life in document["life"]:
        assert life["loss"]["function"] == "br_dev_queue_push_xmit"
        assert "larger than the port's MTU (1500 bytes, tap0 takes 1400)" in life["loss"]["words"]
