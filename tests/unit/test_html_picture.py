"""The picture of a path: lanes by who has the packet, links by what became of it."""

from __future__ import annotations

from itertools import pairwise

import pytest

from lab.plan.data import Carrier, Direction, Place, Port
from lab.report.html.path import nic_paths
from lab.report.html.picture import Drawing, Hardware, State, Way, draw, stops
from lab.report.html.topology import topology
from lab.report.life import Actor
from lab.report.path import PathHop
from lab.report.result import Result
from lab.report.verdict import Check, Outcome
from tests import moved, pages, sample

GUESTS = {"guest", "two", "three"}


def drawn(carrier: Carrier | None, result: Result | None = None) -> Drawing:
    found = result or sample.result()
    paths = tuple(path.model_copy(update={"carrier": carrier}) for path in found.paths)
    return draw(Way(paths=paths, hardware=Hardware("NIC", "igb")))


def names(drawing: Drawing) -> list[str]:
    return [box.station.name for box in drawing.boxes]


@pytest.mark.parametrize(
    ("carrier", "beside", "worker"),
    [
        (Carrier.VHOST, {Actor.QEMU}, "vhost-net"),
        (Carrier.QEMU, set(), "QEMU"),
        (None, {Actor.QEMU}, "nobody known"),
    ],
)
def test_who_carries_the_packet_stands_between_host_and_guest(
    carrier: Carrier | None, beside: set[Actor], worker: str
) -> None:
    drawing = drawn(carrier)
    assert {lane.actor for lane in drawing.lanes if lane.beside} == beside
    assert names(drawing) == ["wire", "NIC", "uplink", "br0", "tap0", worker, "guest"]


def test_hardware_goes_past_host_and_qemu() -> None:
    result = sample.result()
    paths = tuple(
        path.model_copy(
            update={"hops": tuple(hop for hop in path.hops if hop.where != "host")},
        )
        for path in result.paths
    )
    drawing = drawn(Carrier.VFIO, result.model_copy(update={"paths": paths}))
    assert {lane.actor for lane in drawing.lanes if lane.beside} == {Actor.HOST, Actor.QEMU}
    assert names(drawing) == ["wire", "NIC", "guest"]


def test_nothing_overlaps() -> None:
    drawing = drawn(Carrier.QEMU)
    boxes = [(box.y, box.y + box.height) for box in drawing.boxes]
    lanes = [(lane.y, lane.y + lane.height) for lane in drawing.lanes]
    for parts in (boxes, lanes):
        assert all(upper[1] <= lower[0] for upper, lower in pairwise(parts))
        assert parts[-1][1] <= drawing.height


def test_the_way_is_whole_where_every_hop_saw_the_probe() -> None:
    drawing = drawn(Carrier.VHOST)
    assert {link.state for link in drawing.links} == {State.SEEN}
    assert not any(link.cross for link in drawing.links)


def test_a_lost_probe_is_crossed_out_once_and_missing_from_there() -> None:
    result = pages.failing()
    links = [link for link in drawn(Carrier.VHOST, result).links if link.direction is Direction.IN]
    states = [link.state for link in links]
    assert states == [State.SEEN] * 3 + [State.LOST] + [State.MISSING] * 2
    assert [link.cross for link in links] == [False] * 3 + [True] + [False] * 2


def test_the_way_out_is_lost_from_the_bottom_up() -> None:
    result = sample.result()
    out = result.paths[1]
    assert out.direction is Direction.OUT
    cut = tuple(hop if hop.hop == "guest" else lost(hop) for hop in out.hops)
    path = out.model_copy(update={"hops": cut})
    drawing = drawn(Carrier.VHOST, result.model_copy(update={"paths": (path,)}))
    outs = [link for link in drawing.links if link.direction is Direction.OUT]
    assert [link.state for link in outs][-2:] == [State.LOST, State.LOST]
    assert [link.cross for link in outs][-2:] == [False, True]
    ins = {link.state for link in drawing.links if link.direction is Direction.IN}
    assert ins == {State.NONE}


def lost(hop: PathHop) -> PathHop:
    return hop.model_copy(update={"seen": False, "time_ns": None})


def test_what_several_nics_share_stands_there_once() -> None:
    drawing = topology([nic.way for nic in nic_paths(pages.several(), sample.evidence())])
    devices = [node.spot.device or node.spot.name for node in drawing.nodes]
    assert devices.count("br0") == 1
    assert {"tap0", "tap1"} <= set(devices)
    assert [node.spot.name for node in drawing.nodes if node.spot.lane is Actor.GUEST] == [
        "guest",
        "two",
    ]
    bridge = next(node for node in drawing.nodes if node.spot.name == "br0")
    assert (
        sum((edge.x1, edge.y1) == (bridge.x, bridge.y + bridge.height) for edge in drawing.edges)
        == 2
    )


@pytest.mark.parametrize(
    ("number", "bridges", "each"),
    [(2, 1, 1), (3, 2, 1), (4, 2, 2), (8, 3, 2), (21, 2, 8), (48, 4, 8)],
)
def test_ways_side_by_side_do_not_overlap(number: int, bridges: int, each: int) -> None:
    result = pages.several(number, bridges, each)
    drawing = topology([nic.way for nic in nic_paths(result, sample.evidence())])
    assert all(node.width > 70 for node in drawing.nodes)
    assert min(node.x - node.width / 2 for node in drawing.nodes) > 0
    assert max(node.x + node.width / 2 for node in drawing.nodes) < drawing.width
    for left, right in pairwise(sorted(drawing.nodes, key=lambda node: (node.y, node.x))):
        apart = left.x + left.width / 2 <= right.x - right.width / 2
        assert apart or left.y + left.height <= right.y


def test_ways_that_share_a_bridge_stand_side_by_side() -> None:
    drawing = topology([nic.way for nic in nic_paths(pages.several(3, 2), sample.evidence())])
    guests = sorted((node.x, node.spot.name) for node in drawing.nodes if node.spot.name in GUESTS)
    assert [name for _, name in guests] == ["guest", "three", "two"]


def test_each_guest_has_a_vhost_and_a_qemu_of_its_own() -> None:
    result = pages.several(3, 1)
    for carrier, word in ((Carrier.VHOST, "vhost-net"), (Carrier.QEMU, "QEMU")):
        paths = tuple(path.model_copy(update={"carrier": carrier}) for path in result.paths)
        run = result.model_copy(update={"paths": paths})
        drawing = topology([nic.way for nic in nic_paths(run, None)])
        assert [node.spot.name for node in drawing.nodes].count(word) == 3


def test_each_port_is_the_nic_that_it_is() -> None:
    ways = [nic.way for nic in nic_paths(pages.several(4, 4), sample.evidence())]
    nics = [spot for spot in (node.spot for node in topology(ways).nodes) if spot.lane is Actor.NIC]
    assert [(spot.name, spot.device) for spot in nics] == [
        ("igb", "QEMU's 01:00.0"),
        ("igb", "QEMU's 03:00.0"),
        ("igb", "QEMU's 05:00.0"),
        ("e1000e", "QEMU's 07:00.0"),
    ]


@pytest.mark.parametrize(
    ("driver", "pci", "shown"),
    [
        ("veth", "", ("cable", "veth pair")),
        ("ixgbe", "0000:03:00.0", ("ixgbe", "03:00.0")),
        (None, "", ("NIC", "")),
    ],
)
def test_a_port_of_this_machine_is_named_as_it_is(
    driver: str | None, pci: str, shown: tuple[str, str]
) -> None:
    port = driver and Port(name="uplink", device="eth0", pci=pci, driver=driver)
    paths = tuple(path.model_copy(update={"port": port}) for path in sample.result().paths)
    run = sample.result().model_copy(update={"paths": paths, "place": Place.HERE})
    (nic,) = nic_paths(run, sample.evidence())
    assert (nic.way.hardware.name, nic.way.hardware.device) == shown


def test_a_probe_of_another_guest_is_not_this_ones() -> None:
    nics = {nic.name: nic for nic in nic_paths(pages.several(), sample.evidence())}
    assert nics["two.net0"].others == ()


def test_where_a_probe_stopped_is_said() -> None:
    assert stops(sample.result().paths[0]) == ""
    assert stops(pages.failing().paths[0]) == "last seen at br0, not seen at tap0, guest"


def test_a_wrong_carrier_is_marked() -> None:
    result = sample.result()
    check = Check(
        name="carrier", outcome=Outcome.FAIL, expected="vhost", observed="QEMU", evidence=""
    )
    red = result.model_copy(update={"checks": (check,)})
    (nic,) = nic_paths(red, sample.evidence())
    assert [box.station.name for box in nic.drawing.boxes if box.station.wrong] == ["vhost-net"]
    assert nic.red == (check,)


def test_the_function_that_was_passed_through_is_named() -> None:
    result = sample.result()
    paths = tuple(
        path.model_copy(update={"carrier": Carrier.VFIO, "driver": "igbvf"})
        for path in result.paths
    )
    command = (
        "qemu -device vfio-pci,host=0000:01:10.2,id=net0 -device vfio-pci,host=0000:02:00.0,id=b"
    )
    run = result.model_copy(update={"paths": paths, "commands": {"guest": command}})
    (nic,) = nic_paths(run, sample.evidence())
    station = next(box.station for box in nic.drawing.boxes if box.station.actor is Actor.NIC)
    assert (station.name, station.device) == ("virtual function", "01:10.2")


@pytest.mark.parametrize(
    ("outcome", "address"), [("completed", "04:10.0"), ("cancelled", "01:10.0")]
)
def test_a_guest_that_moved_is_drawn_with_the_function_that_it_has_now(
    outcome: str, address: str
) -> None:
    result = sample.result()
    paths = tuple(path.model_copy(update={"carrier": Carrier.VFIO}) for path in result.paths)
    line = "qemu -device vfio-pci,host=0000:{},id=primary,failover_pair_id=net0"
    commands = {"guest": line.format("01:10.0"), "guest-target": line.format("04:10.0")}
    run = result.model_copy(update={"paths": paths, "commands": commands})
    move = moved.migration().model_copy(update={"guest": "guest", "outcome": outcome})
    seen = sample.evidence().model_copy(update={"migration": move})
    (nic,) = nic_paths(run, seen)
    assert nic.way.hardware.device == address


def test_other_devices_that_saw_the_probe_are_named() -> None:
    seen = sample.evidence()
    stranger = seen.probes[0].sightings[1].model_copy(update={"device": "eth9"})
    probe = seen.probes[0].model_copy(update={"sightings": (*seen.probes[0].sightings, stranger)})
    (nic,) = nic_paths(sample.result(), seen.model_copy(update={"probes": (probe,)}))
    assert nic.others == ("host:eth9",)
    assert not nic.stray


def test_others_are_wrong_where_the_check_says_so() -> None:
    check = Check(
        name="guest/strangers", outcome=Outcome.FAIL, expected="none", observed="", evidence=""
    )
    run = sample.result().model_copy(update={"checks": (check,)})
    (nic,) = nic_paths(run, sample.evidence())
    assert nic.stray
