"""Where a packet got lost, from what was seen of it last and what the kernel dropped then."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lab.evidence.life import LinkState
from lab.plan.data import Direction
from lab.report.life import Actor, Counters, Loss, Step
from lab.report.trace.anchors import Anchors
from lab.report.trace.cast import FRAMES, Cast
from lab.report.trace.events import Event

_LOCATION = re.compile(r"location=(\w+)")
_REASON = re.compile(r"reason: (\w+)")
_UNSPECIFIED = "NOT_SPECIFIED"
_CONSUMED = "CONSUMED"
# The kernel's own words for its reasons (enum skb_drop_reason, include/net/dropreason-core.h), as
# far as a frame can meet them on a path of the lab's. Whatever is not here is shown by its name.
_REASONS = {
    "CPU_BACKLOG": "the CPU's backlog of received frames is full",
    "DEV_HDR": "the header or metadata that its driver wants is invalid",
    "DEV_READY": "the device is not ready",
    "FULL_RING": "the device's ring is full",
    "IP_CSUM": "the checksum of its IP header is wrong",
    "IP_RPFILTER": "its source address fails the reverse path filter",
    "NETFILTER_DROP": "netfilter has a rule that drops it",
    "NOMEM": "there is no memory",
    "OTHERHOST": "it is addressed to another host",
    "PKT_TOO_BIG": "it is too big",
    "QDISC_DROP": "the queueing discipline of the device drops it",
    "TAP_FILTER": "an eBPF filter on the tap drops it",
    "TAP_TXFILTER": "the tap's address filter drops it",
    "TC_EGRESS": "a tc filter drops what leaves the device",
    "TC_INGRESS": "a tc filter drops what comes in through the device",
    "UNHANDLED_PROTO": "nobody handles its protocol",
    "XDP": "an XDP program drops it",
}
# What a bridge allows beyond the MTU: the Ethernet header and a VLAN tag (__is_skb_forwardable,
# include/linux/netdevice.h). The function that looks is br_dev_queue_push_xmit.
_HEADER = 14
_BEYOND_MTU = _HEADER + 4
_FORWARDING = "br_dev_queue_push_xmit"
_NEAR_NS = 1_000_000


def lost(cast: Cast) -> bool:
    """Whether the packet did not do what it was sent for: come back, or for a hop probe, arrive."""
    life = cast.evidence
    return not (life.answered or (life.kind == "hop" and cast.stamp(outgoing=False)))


def loss_of(cast: Cast, found: Anchors) -> Loss | None:
    """None where nothing was lost."""
    if not lost(cast):
        return None
    drop = _drop(cast, found)
    function = _find(_LOCATION, drop)
    # Whoever consumes a frame has done with it: what it was made into has another address.
    reason = _CONSUMED if drop and drop.name == "consume_skb" else _find(_REASON, drop)
    seen_at = _seen_at(cast, found, function)
    return Loss(
        leg=Direction.OUT if found.back or cast.stamp(outgoing=True) else Direction.IN,
        seen_at=seen_at,
        words=_words(seen_at, function, reason, _why(cast, found, function, reason)),
        function=function,
        reason=reason,
        counters=tuple(_counters(cast)),
    )


def drop_step(cast: Cast, found: Anchors, loss: Loss) -> Iterator[Step]:
    """The drop itself, where the kernel told of it."""
    drop = _drop(cast, found)
    if drop:
        verb = "consumed" if loss.reason == _CONSUMED else "dropped"
        what = f"{verb} in {loss.function} ({loss.reason})"
        device = _last(cast, found).device
        yield cast.step(drop, Actor.HOST, loss.leg, what, device=device, strong=True)


def _last(cast: Cast, found: Anchors) -> Event:
    """The last that was seen of the frame itself."""
    names = f"{FRAMES} skb_copy_datagram_iovec"
    known = cast.trace.last(
        names,
        found.sent.time_ns,
        match=lambda e: bool(cast.where(e.device)) or (e.name not in FRAMES and cast.of_guest(e)),
    )
    return known or found.sent


def _drop(cast: Cast, found: Anchors) -> Event | None:
    """The frame's own end, by its address; else, where it was handed on as a copy, the next drop
    that the same thread made at once."""
    last = _last(cast, found)
    after = last.time_ns
    # What was copied to the guest, or sent, is consumed as it should be.
    ends = "kfree_skb consume_skb" if last.name == "netif_receive_skb" else "kfree_skb"
    own = cast.trace.first(ends, after, match=lambda e: e.skb == last.skb)
    return own or cast.trace.first(
        "kfree_skb", after, after + _NEAR_NS, lambda e: (e.tid, e.cpu) == (last.tid, last.cpu)
    )


def _find(pattern: re.Pattern[str], event: Event | None) -> str:
    found = pattern.search(event.text) if event else None
    return found[1] if found else ""


def _seen_at(cast: Cast, found: Anchors, function: str) -> str:
    last = _last(cast, found)
    stamp = cast.stamp(outgoing=bool(cast.stamp(outgoing=True)))
    if stamp and not found.back:
        return f"{stamp.device} of {cast.evidence.guest}"
    if last.name == "skb_copy_datagram_iovec":
        return f"{cast.thread(last.tid)}, which copied it for the guest"
    if last.name != "netif_receive_skb":
        return f"{last.device} egress"
    bridge = cast.links[last.device].bridge
    if bridge and function.startswith("br_"):
        return f"{bridge} ingress (port {last.device})"
    return f"{last.device} ingress"


def _why(cast: Cast, found: Anchors, function: str, reason: str) -> str:
    if function == _FORWARDING:
        port = _too_small(cast, _last(cast, found))
        if port:
            size = cast.evidence.size - _HEADER
            return f"larger than the port's MTU ({size} bytes, {port.device} takes {port.mtu})"
    if reason == _UNSPECIFIED:
        return "the kernel gives no reason"
    return _REASONS.get(reason, f"the kernel calls the reason {reason}")


def _too_small(cast: Cast, entered: Event) -> LinkState | None:
    """The bridge's port whose MTU forbids this frame, the expected one before any other."""
    bridge = cast.links[entered.device].bridge
    expected = [hop.device for hop in cast.hops]
    ports = (
        link
        for link in cast.links.values()
        if bridge
        and (link.bridge, link.where) == (bridge, cast.where(entered.device))
        and link.device != entered.device
        and cast.evidence.size > link.mtu + _BEYOND_MTU
    )
    return min(ports, key=lambda link: link.device not in expected, default=None)


def _words(seen_at: str, function: str, reason: str, why: str) -> str:
    if not function:
        return f"last seen at {seen_at}; the host's kernel dropped nothing"
    if reason == _CONSUMED:
        return f"last seen at {seen_at}, consumed in {function}: it was made into something else"
    return f"last seen at {seen_at}, dropped in {function}: {why}"


def _counters(cast: Cast) -> Iterator[Counters]:
    """Of all devices in the path, and of the bridges that they are ports of."""
    after = {(link.where, link.device): link.counters for link in cast.evidence.after}
    path = {(hop.where, hop.device) for hop in cast.hops}
    for link in cast.evidence.before:
        key = link.where, link.device
        if key in path and key in after:
            grown = {
                name: after[key][name] - value
                for name, value in link.counters.items()
                if after[key].get(name, value) != value
            }
            yield Counters(where=link.where, device=link.device, mtu=link.mtu, grown=grown)
