"""Links: bridges and their ports, veth pairs, up and down, addresses.

IPv6 is switched off on the host's side of a path, so that captures there show the probes and not
the host's own neighbour discovery; frames with IPv6 inside are carried all the same.
"""

from __future__ import annotations

from lab.host.addresses import add_missing
from lab.host.host import Host, Link
from lab.host.undo import UndoStack
from lab.plan.operations import AddAddress, AddBridge, AddMember, AddVeth, AddVlan, LinkUp


def add_bridge(host: Host, op: AddBridge, undos: UndoStack) -> None:
    """Without STP and its delay a port forwards as soon as it has a carrier."""
    host.netlink(op.where).link(
        "add",
        ifname=op.name,
        kind="bridge",
        br_stp_state=0,
        br_forward_delay=0,
        br_mcast_snooping=0,
    )
    undos.push(f"bridge {op.name}", lambda: delete(host, op.where, op.name))
    quieten(host, op.where, op.name, undos)


def add_member(host: Host, op: AddMember, undos: UndoStack) -> None:
    """The port keeps its own addresses; they do nothing while it is in the bridge."""
    netlink = host.netlink(op.where)
    index = host.index(op.where, op.device)
    before = host.link(op.where, op.device).master or 0
    netlink.link("set", index=index, master=host.index(op.where, op.bridge))
    undos.push(
        f"{op.device} in bridge {op.bridge}",
        lambda: netlink.link("set", index=host.index(op.where, op.device), master=before),
    )
    if op.hairpin:
        netlink.brport("set", index=index, mode=1)


def add_veth(host: Host, op: AddVeth, undos: UndoStack) -> None:
    """Both ends vanish with either."""
    netlink = host.netlink(op.where)
    netlink.link("add", ifname=op.name, kind="veth", peer=op.peer)
    undos.push(f"veth {op.name}", lambda: delete(host, op.where, op.name))
    if op.peer_where != op.where:
        peer = host.index(op.where, op.peer)
        netlink.link("set", index=peer, net_ns_fd=host.namespace_fd(op.peer_where))
    quieten(host, op.where, op.name, undos)
    quieten(host, op.peer_where, op.peer, undos)


def add_vlan(host: Host, op: AddVlan, undos: UndoStack) -> None:
    """It has the MAC address of the device below it."""
    netlink = host.netlink(op.where)
    lower = host.index(op.where, op.device)
    netlink.link("add", ifname=op.name, kind="vlan", link=lower, vlan_id=op.vlan)
    undos.push(f"VLAN device {op.name}", lambda: delete(host, op.where, op.name))
    quieten(host, op.where, op.name, undos)


def set_up(host: Host, op: LinkUp, undos: UndoStack) -> None:
    """MTU first: an igb port that is up loses its carrier for a moment when it changes."""
    netlink = host.netlink(op.where)
    index = host.index(op.where, op.device)
    before = host.link(op.where, op.device)
    quieten(host, op.where, op.device, undos)

    undos.push(
        f"{op.device}, which was {'up' if before.up else 'down'}",
        lambda: restore(host, op.where, op.device, before),
    )
    if op.mtu is not None and op.mtu != before.mtu:
        netlink.link("set", index=index, mtu=op.mtu)
    netlink.link("set", index=index, state="up")


def add_address(host: Host, op: AddAddress, undos: UndoStack) -> None:
    """One more address beside those that the device has."""
    netlink = host.netlink(op.where)
    what = _address(op.cidr)
    netlink.addr("add", index=host.index(op.where, op.device), **what)
    undos.push(
        f"address {op.cidr} on {op.device}",
        lambda: netlink.addr("del", index=host.index(op.where, op.device), **what),
    )


def delete(host: Host, where: str, device: str) -> None:
    """Remove a device that we made; one that is gone already is as good as removed."""
    if host.exists(where, device):
        host.netlink(where).link("del", index=host.index(where, device))


def restore(host: Host, where: str, device: str, before: Link) -> None:
    """Put state, MTU and addresses of a device back to what they were."""
    netlink = host.netlink(where)
    index = host.index(where, device)
    netlink.link("set", index=index, state="up" if before.up else "down")
    now = host.link(where, device)
    if now.mtu != before.mtu:
        netlink.link("set", index=index, mtu=before.mtu)
    # The kernel drops IPv6 addresses from a device that goes down (keep_addr_on_down).
    add_missing(netlink, index, before.addresses)


def quieten(host: Host, where: str, device: str, undos: UndoStack) -> None:
    """Switch IPv6 off on a device, unless it has an IPv6 address that is somebody's."""
    name = f"ipv6/conf/{device}/disable_ipv6"
    before = host.sysctl(where, name)
    if before in (None, "1") or any(each.is_ipv6 for each in host.link(where, device).addresses):
        return

    def back() -> None:
        if host.exists(where, device):
            host.set_sysctl(where, name, before)

    host.set_sysctl(where, name, "1")
    undos.push(f"IPv6 on {device}", back)


def _address(cidr: str) -> dict[str, str | int]:
    address, _, length = cidr.partition("/")
    return {"address": address, "prefixlen": int(length)}
