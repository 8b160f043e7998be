"""Plans of the topologies in this repository, as tests want them."""

from __future__ import annotations

from collections.abc import Mapping

from lab.model.load import load_topology
from lab.plan.build import build
from lab.plan.data import Facts, Plan
from lab.plan.places import labhost_facts
from tests.golden_file import GOLDEN

CASES: tuple[tuple[str, dict[str, str]], ...] = (
    ("vhost", {}),
    ("vhost", {"queues": "4", "cpus": "2"}),
    ("e1000", {}),
    ("e1000", {"model": "rtl8139"}),
    ("virtio", {}),
    ("virtio", {"packed": "on", "rx_queue_size": "1024"}),
    ("multiqueue", {}),
    ("multiqueue", {"queues": "8", "active": "3"}),
    ("macvtap", {}),
    ("macvtap", {"mode": "private", "queues": "2", "allmulticast": "on", "vhost": "off"}),
    ("passthrough", {}),
    ("passthrough", {"device": "spare3"}),
    ("sriov", {}),
    ("sriov", {"guests": "1", "trust": "on"}),
    ("sriov", {"vfs": "3", "vf": "1", "vlan": "100", "create": "max_vfs", "persist": "yes"}),
    ("failover", {}),
    ("failover", {"vf_on_target": "no"}),
    ("failover", {"abort": "yes"}),
    ("macvtap", {"mode": "vepa", "hairpin": "on"}),
    ("macvtap", {"mode": "passthru"}),
    ("two-guests", {}),
    ("reach", {}),
    ("vlans", {}),
)


def case_name(name: str, settings: Mapping[str, str]) -> str:
    """``vhost,queues=4``: the name of a case and of its golden files."""
    return ",".join([name, *(f"{key}={value}" for key, value in settings.items())])


def plan_of(name: str, settings: Mapping[str, str] | None = None, run: str = "golden") -> Plan:
    """The plan of a topology of ours, or of one that stands beside the golden plans."""
    return build_for(name, labhost_facts(run), settings)


def build_for(name: str, facts: Facts, settings: Mapping[str, str] | None = None) -> Plan:
    """As `plan_of`, on another place."""
    own = GOLDEN / "plans" / f"{name}.yaml"
    return build(load_topology(str(own) if own.exists() else name, settings or {}), facts)
