"""What is planned: tests/golden/plans/CASE.json.

``HOPLAB_GOLDEN=write python -m pytest tests/unit`` writes the expected files anew; read the diff.
"""

from __future__ import annotations

import pytest

from lab.errors import CannotError
from lab.model.load import load_topology, names
from lab.plan.argv import escaped
from lab.plan.build import build
from lab.plan.data import Plan, Port
from lab.plan.links import vf_address
from lab.plan.places import labhost_facts
from lab.plan.sabotage import applicable
from tests.golden_file import GOLDEN, compare
from tests.plans import CASES, build_for, case_name, plan_of

IDS = [case_name(*case) for case in CASES]


@pytest.mark.parametrize(("name", "settings"), CASES, ids=IDS)
def test_plan(name: str, settings: dict[str, str]) -> None:
    text = plan_of(name, settings).model_dump_json(indent=1, exclude={"facts"})
    compare(GOLDEN / "plans" / f"{case_name(name, settings)}.json", f"{text}\n")


@pytest.mark.parametrize(("name", "settings"), CASES, ids=IDS)
def test_a_plan_survives_its_way_as_json(name: str, settings: dict[str, str]) -> None:
    plan = plan_of(name, settings)
    assert Plan.model_validate_json(plan.model_dump_json()) == plan


def test_every_topology_has_a_golden_plan() -> None:
    assert {name for name, _ in CASES} >= set(names())


@pytest.mark.parametrize("name", names())
def test_a_place_without_ports(name: str) -> None:
    bare = labhost_facts("r").model_copy(update={"ports": ()})
    with pytest.raises(CannotError, match=f"topology {name} needs port (uplink|spare1)") as caught:
        build_for(name, bare)
    assert "--on labhost" in caught.value.hint


@pytest.mark.parametrize("name", ["passthrough", "sriov"])
def test_a_veth_is_no_pci_device(name: str) -> None:
    veth = labhost_facts("r").model_copy(update={"ports": (Port(name="uplink", device="veth0"),)})
    with pytest.raises(CannotError, match=r"port uplink \(veth0\)"):
        build_for(name, veth)


@pytest.mark.parametrize("name", ["vhost", "macvtap"])
def test_several_queues_are_probed_and_can_be_spoiled(name: str) -> None:
    one, two = plan_of(name), plan_of(name, {"queues": "2"})
    assert {probe.flows for probe in one.probes} == {0}
    assert {probe.flows for probe in two.probes} == {32}
    fitting = {sabotage.name for sabotage in applicable(two)}
    assert fitting >= {"no-mq", "few-vectors", "one-vcpu"}


@pytest.mark.parametrize("turn", [1, -1], ids=["standby first", "primary first"])
def test_a_standby_is_there_before_its_primary(turn: int) -> None:
    topology = load_topology("failover", {})
    guest = topology.guests[0]
    turned = guest.model_copy(update={"nics": guest.nics[::turn]})
    plan = build(topology.model_copy(update={"guests": (turned,)}), labhost_facts("r"))
    assert plan.migration is not None
    for each in (plan.guests[0], plan.migration.target, plan.migration.plain):
        ports, standby, primary = (
            [at for at, word in enumerate(each.argv) if word.startswith(begin)]
            for begin in ("pcie-root-port,", "virtio-net-pci,id=standby,", "vfio-pci,")
        )
        assert max(standby) < min(primary)
        assert [each.argv[at] for at in ports] == [
            f"pcie-root-port,id=rp{index},chassis={index + 1}" for index in range(2)
        ]


def test_derived_addresses_depend_on_the_run_and_differ() -> None:
    macs = [
        nic.mac
        for run in ("one", "two")
        for guest in plan_of("two-guests", run=run).guests
        for nic in guest.nics
    ]
    assert len(set(macs)) == 5  # the one that the file gives is in both runs
    assert all(mac.startswith("52:54:00:") for mac in macs)


def test_a_passed_through_port_keeps_its_address() -> None:
    plan = plan_of("passthrough")
    assert plan.guests[0].nics[0].mac == plan.facts.ports[0].mac


def test_tcg_is_planned_where_the_place_has_no_kvm() -> None:
    facts = labhost_facts("r").model_copy(update={"accelerator": "tcg", "qemu": ("ld.so", "qemu")})
    argv = build_for("virtio", facts).guests[0].argv
    assert argv[:2] == ("ld.so", "qemu")
    assert argv[argv.index("-accel") : argv.index("-accel") + 4] == (
        "-accel",
        "tcg,thread=multi",
        "-cpu",
        "max",
    )


def test_commas_are_doubled() -> None:
    assert escaped("a,b") == "a,,b"


@pytest.mark.parametrize(
    ("index", "address"), [(0, "0000:01:10.0"), (1, "0000:01:10.2"), (6, "0000:01:11.4")]
)
def test_vf_addresses_of_the_82576(index: int, address: str) -> None:
    uplink = labhost_facts("r").ports[0]
    assert vf_address(uplink, index) == address
