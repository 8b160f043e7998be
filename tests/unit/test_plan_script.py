"""What is printed for pasting: tests/golden/scripts/CASE.sh."""

from __future__ import annotations

import shlex
import subprocess
from typing import get_args

import pytest

from lab.plan.operations import AddMember, AddVeth, Exec, LinkUp, Operation
from lab.plan.script import command, script
from lab.plan.shell import Step, step
from lab.plan.where import WIRE
from tests.golden_file import GOLDEN, compare
from tests.plans import CASES, case_name, plan_of

IDS = [case_name(*case) for case in CASES]


@pytest.mark.parametrize(("name", "settings"), CASES, ids=IDS)
def test_script(name: str, settings: dict[str, str]) -> None:
    text = script(plan_of(name, settings))
    compare(GOLDEN / "scripts" / f"{case_name(name, settings)}.sh", text)


@pytest.mark.parametrize(("name", "settings"), CASES, ids=IDS)
def test_script_is_bash(name: str, settings: dict[str, str]) -> None:
    text = script(plan_of(name, settings))
    done = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize(("name", "settings"), CASES, ids=IDS)
def test_the_command_is_the_argv(name: str, settings: dict[str, str]) -> None:
    plan = plan_of(name, settings)
    for guest in plan.guests:
        words = shlex.split(command(plan, guest.name).replace("\\\n", ""))
        shown = [word for word in words if "<>" not in word and "/ifindex)" not in word]
        assert len(shown) == len(guest.argv)
        assert not any("{" in word for word in shown)


def test_the_environment_stands_before_qemu() -> None:
    plan = plan_of("vhost")
    facts = plan.facts.model_copy(update={"qemu_env": {"QEMU_MODULE_DIR": "/a b"}})
    text = command(plan.model_copy(update={"facts": facts}), "guest")
    assert text.startswith("QEMU_MODULE_DIR='/a b' qemu-system-x86_64 \\\n    -name guest")


def test_every_operation_has_its_lines() -> None:
    (union, _) = get_args(Operation)
    assert set(get_args(union)) <= set(step.registry)


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (
            AddVeth(name="a", peer="b", peer_where=WIRE),
            Step(("ip link add name a type veth peer name b netns wire",), "ip link del dev a"),
        ),
        (
            AddVeth(name="a", peer="b", where=WIRE, peer_where="host"),
            Step(
                ("ip -n wire link add name a type veth peer name b netns $$",),
                "ip -n wire link del dev a",
            ),
        ),
        (
            AddMember(device="a", bridge="b", hairpin=True, where=WIRE),
            Step(
                (
                    "ip -n wire link set dev a master b",
                    "ip netns exec wire bridge link set dev a hairpin on",
                ),
                "ip -n wire link set dev a nomaster",
            ),
        ),
        (
            LinkUp(device="a", mtu=9000),
            Step(
                (
                    "ip link show dev a up | grep -q . || later ip link set dev a down",
                    'later ip link set dev a mtu "$(cat /sys/class/net/a/mtu)"',
                    "ip link set dev a mtu 9000",
                    "ip link set dev a up",
                )
            ),
        ),
        (
            Exec(argv=("tc", "a b"), undo=("tc", "del"), where=WIRE),
            Step(("ip netns exec wire tc 'a b'",), "ip netns exec wire tc del"),
        ),
    ],
    ids=["veth", "veth back", "hairpin", "mtu", "exec"],
)
def test_lines_that_no_topology_of_ours_needs(operation: Operation, expected: Step) -> None:
    assert step(operation) == expected
