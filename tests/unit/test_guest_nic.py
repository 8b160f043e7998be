"""The script that sets up NICs in a guest, and what is read from its answer."""

from __future__ import annotations

import subprocess
from typing import Any, cast

import pytest

from lab.errors import StartError
from lab.evidence.guest import NicEvidence
from lab.guest.agent import Agent, Result
from lab.guest.nic import configure, script
from lab.plan.data import NicPlan

NIC = NicPlan(id="nic0", netdev="net0", mac="52:54:00:AB:CD:EF", address="192.0.2.2/24", mtu=1400)


class Answering:
    """An agent whose every program ends with one result."""

    def __init__(self, result: Result) -> None:
        self._result = result

    def run(self, *_: Any, **__: Any) -> Result:
        return self._result


def answering(result: Result) -> Agent:
    return cast("Agent", Answering(result))


def test_each_nic_is_one_line_of_the_script() -> None:
    told = NIC.model_copy(update={"id": "nic1", "active": 2, "rx_ring": 512})
    assert script([NIC, told], 10).splitlines()[-2:] == [
        "nic nic0 52:54:00:ab:cd:ef 1400 192.0.2.2/24 - -",
        "nic nic1 52:54:00:ab:cd:ef 1400 192.0.2.2/24 2 512",
    ]


def test_the_script_is_a_shell_script() -> None:
    subprocess.run(["sh", "-n"], input=script([NIC], 10), text=True, check=True)


def test_a_nic_that_never_comes_is_named() -> None:
    done = subprocess.run(
        ["sh"], input=script([NIC], 0.1), capture_output=True, text=True, check=False
    )
    result = Result(done.returncode, done.stdout.encode(), done.stderr)
    text = "guest g1: NIC nic0 no NIC has the MAC address 52:54:00:ab:cd:ef"
    with pytest.raises(StartError, match=text):
        configure(answering(result), "g1", [NIC], 0.1)


def test_the_answer_is_the_kernel_and_the_nics() -> None:
    out = b"6.12.117+deb13-amd64\nnic nic0 eth0 virtio_net 52:54:00:ab:cd:ef 4\n"
    assert configure(answering(Result(0, out, "")), "g1", [NIC], 10) == (
        "6.12.117+deb13-amd64",
        (
            NicEvidence(
                id="nic0", device="eth0", driver="virtio_net", mac="52:54:00:ab:cd:ef", queues=4
            ),
        ),
    )


def test_a_guest_that_refuses_queues_says_so_and_goes_on() -> None:
    refused = b"6.12\nrefused nic0 netlink error: too many\n"
    out = refused + b"nic nic0 eth0 virtio_net 52:54:00:ab:cd:ef 1\n"
    _, (nic,) = configure(answering(Result(0, out, "")), "g1", [NIC], 10)
    assert (nic.queues, nic.refused) == (1, "netlink error: too many")


def test_what_ip_said_is_kept() -> None:
    out = b"6.12\nRTNETLINK answers: Invalid argument\nfail nic0 ip could not set up eth0\n"
    with pytest.raises(StartError, match="NIC nic0 ip could not set up eth0") as caught:
        configure(answering(Result(1, out, "")), "g1", [NIC], 10)
    assert "Invalid argument" in caught.value.output
