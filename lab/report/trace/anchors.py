"""The four events between which everything else of a packet's life lies."""

from __future__ import annotations

from dataclasses import dataclass

from lab.report.trace.cast import FRAMES, Cast
from lab.report.trace.events import Event


@dataclass(frozen=True)
class Anchors:
    """``sent`` is the tester's sending. ``given`` is the last that the outside sees of the packet
    on its way in: a thread of the guest copied it out of its tap, or, where the guest has the NIC
    to itself, the tester's NIC got it. ``back`` is the first that the outside sees of the answer,
    ``home`` the tester's having it. What did not happen is ``None``.
    """

    sent: Event
    given: Event | None
    back: Event | None
    home: Event | None


def anchors(cast: Cast) -> Anchors | None:
    """None where the kernel did not even see the tester send."""
    sent = cast.sent
    if sent is None:
        return None
    given = _given(cast, sent)
    if given is None or cast.evidence.kind == "hop":
        return Anchors(sent, given, None, None)
    home = cast.trace.first("netif_receive_skb", given.time_ns, match=cast.on_wire)
    back = cast.trace.first(FRAMES, given.time_ns, match=cast.on_host) if cast.gate else home
    return Anchors(sent, given, back, home)


def _given(cast: Cast, sent: Event) -> Event | None:
    if cast.gate:
        return cast.trace.first("skb_copy_datagram_iovec", sent.time_ns, match=cast.of_guest)
    return cast.trace.last("net_dev_start_xmit", sent.time_ns, match=cast.on_wire)
