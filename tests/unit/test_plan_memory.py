"""Guests that a place cannot hold are refused before anything is started."""

from __future__ import annotations

import pytest

from lab import machine
from lab.errors import CannotError
from lab.labhost.machine import GUESTS_MIB
from lab.model.load import load_topology, names
from lab.model.topology import Topology
from lab.places import WantedPlace, check
from lab.plan.memory import require_memory


def guests(number: int, memory: int = 192, name: str = "vhost") -> Topology:
    """A topology of ours with so many guests of so many MiB."""
    topology = load_topology(name, {})
    first = topology.guests[0]
    more = (first.model_copy(update={"name": f"more{index}"}) for index in range(1, number))
    sized = tuple(each.model_copy(update={"memory": memory}) for each in (first, *more))
    return topology.model_copy(update={"guests": sized})


@pytest.mark.parametrize("name", names())
def test_a_lab_host_holds_all_of_ours(name: str) -> None:
    check(load_topology(name, {}), WantedPlace())


@pytest.mark.parametrize(
    ("topology", "needed"),
    [
        (guests(1, 4096), "the guests of vhost need 4128 MiB"),
        (guests(9), "the guests of vhost need 2016 MiB"),
        (guests(1, 900, "failover"), "the guests of failover need 1864 MiB"),
    ],
    ids=["one too large", "too many", "there twice while it migrates"],
)
def test_refused_with_the_reason(topology: Topology, needed: str) -> None:
    with pytest.raises(CannotError, match=needed) as caught:
        check(topology, WantedPlace())
    assert f"a lab host has {GUESTS_MIB} MiB for them" in caught.value.message
    assert caught.value.status == 3


def test_as_many_as_fit() -> None:
    require_memory(guests(8), 8 * 224, "a lab host")
    check(guests(8), WantedPlace())
    check(guests(1, 850, "failover"), WantedPlace())


def test_sixteen_guests_where_there_is_room() -> None:
    require_memory(guests(16), 4096, "this machine")
    with pytest.raises(CannotError, match="this machine has 3000 MiB"):
        require_memory(guests(16), 3000, "this machine")


def test_what_this_machine_has() -> None:
    assert machine.available_mib() > 0
