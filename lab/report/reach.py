"""Reach: what was sent came back whole, with right checksums."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from lab.artifacts import CAPTURE_FILE
from lab.evidence.packets import Exchange
from lab.plan.data import Direction
from lab.report.case import Case, Finding, MissingError, check
from lab.report.verdict import Check

# A TCP transfer that came back whole was verified by the kernels at both ends.
_VERIFIED = ("icmp", "udp")


def reach_checks(case: Case) -> Iterator[Check]:
    """ARP, then ICMP and UDP in every size and TCP, each way; then the checksums of all of them."""
    make = partial(_named, case)
    yield make("reach.arp", "every request answered", partial(_arp, case))
    for protocol in ("icmp", "udp"):
        for way in Direction:
            look = partial(_sizes, case, protocol, way)
            yield make(f"reach.{protocol}.{way}", _sizes_expected(case), look)
    for way in Direction:
        yield make(f"reach.tcp.{way}", "transfer whole", partial(_tcp, case, way))
    yield make("checksum", "every checksum right", partial(_checksum, case))


def _named(case: Case, name: str, expected: str, look: partial[Finding]) -> Check:
    return check(f"{case.prefix}{name}", expected, CAPTURE_FILE, look)


def _sizes_expected(case: Case) -> str:
    try:
        sizes = case.probe_plan().sizes
    except MissingError:
        return "answered"
    return f"answered, {_span(sizes)} bytes"


def _span(sizes: tuple[int, ...]) -> str:
    return f"{min(sizes)} to {max(sizes)}" if len(sizes) > 1 else "".join(map(str, sizes))


def _arp(case: Case) -> Finding:
    """Both ends have to ask."""
    return _delivered(tuple(one for way in Direction for one in case.exchanges("arp", way)))


def _tcp(case: Case, way: Direction) -> Finding:
    return _delivered(case.exchanges("tcp", way))


def _sizes(case: Case, protocol: str, way: Direction) -> Finding:
    exchanges = case.exchanges(protocol, way)
    untried = set(case.probe_plan().sizes) - {exchange.size for exchange in exchanges}
    if untried:
        raise MissingError(f"nothing sent with {', '.join(map(str, sorted(untried)))} bytes")
    return _delivered(exchanges)


def _delivered(exchanges: tuple[Exchange, ...]) -> Finding:
    """Good when all of it arrived; otherwise the sizes that did not, with the receiver's word."""
    lost = [exchange for exchange in exchanges if exchange.delivered < exchange.sent]
    if not lost:
        total = sum(exchange.delivered for exchange in exchanges)
        return Finding(good=True, observed=f"{total} of {total}")
    return Finding(good=False, observed="; ".join(_loss(exchange) for exchange in lost))


def _loss(exchange: Exchange) -> str:
    text = f"{exchange.size} bytes: {exchange.delivered} of {exchange.sent}"
    return f"{text} ({exchange.note})" if exchange.note else text


def _checksum(case: Case) -> Finding:
    exchanges = [
        exchange for protocol in _VERIFIED for exchange in case.exchanges(protocol, *Direction)
    ]
    bad = sum(exchange.bad_checksums for exchange in exchanges)
    checked = sum(exchange.checked for exchange in exchanges)
    if bad:
        return Finding(good=False, observed=f"{bad} of {checked} wrong: {_wrong(exchanges)}")
    if not any(exchange.delivered for exchange in exchanges):
        return Finding(good=None, observed="nothing arrived")
    unchecked = {_words(exchange) for exchange in exchanges} - {
        _words(exchange) for exchange in exchanges if exchange.checked or not exchange.delivered
    }
    if unchecked:
        raise MissingError(f"none verified of {', '.join(sorted(unchecked))}")
    return Finding(good=True, observed=f"{checked} verified where they arrive")


def _wrong(exchanges: list[Exchange]) -> str:
    return ", ".join(sorted({_words(exchange) for exchange in exchanges if exchange.bad_checksums}))


def _words(exchange: Exchange) -> str:
    return f"{exchange.protocol} {exchange.direction}"
