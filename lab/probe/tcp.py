"""TCP over one NIC: streams both ways (iperf3), and bytes that go to and fro one by one."""

from __future__ import annotations

import json
import socket
import subprocess
import time

from lab.errors import CannotError
from lab.evidence.costs import TcpEvidence
from lab.probe.frames import Ends
from lab.probe.lane import Lane

_STREAM_PORT, _TURN_PORT = 9479, 9480
_STREAM_SECONDS, _TURN_SECONDS = 1, 0.5
_PATIENCE = 10.0
# One after the other: each ends with its client, and disturbs none of the others'. In one script,
# for each costs some tenths of a second where the guest is emulated.
_SERVE = """
{{
  iperf3 -s -1 -p {stream_port}
  iperf3 -s -1 -p {stream_port}
  socat -T {patience:.0f} TCP4-LISTEN:{turn_port},reuseaddr,accept-timeout={patience:.0f} PIPE
}} </dev/null >/dev/null 2>&1 &
"""
_REFUSED = "Connection refused"


def observe_tcp(lane: Lane) -> TcpEvidence:
    """Send in the namespace that the calling thread is in. Raises CannotError."""
    serve = _SERVE.format(stream_port=_STREAM_PORT, turn_port=_TURN_PORT, patience=_PATIENCE)
    lane.guest.run(serve)
    in_bps = _stream(lane.ends)
    out_bps = _stream(lane.ends, "-R")
    transactions, seconds = _turns(lane.ends)
    return TcpEvidence(in_bps=in_bps, out_bps=out_bps, transactions=transactions, seconds=seconds)


def bits_per_second(report: str) -> float:
    """What arrived, by iperf3's own JSON. Raises CannotError with what it says instead."""
    try:
        told = json.loads(report)
    except ValueError:
        told = {"error": "no report"}
    try:
        return float(told["end"]["sum_received"]["bits_per_second"])
    except KeyError as error:
        raise CannotError(f"iperf3: {told.get('error', 'no figure')}") from error


def _stream(ends: Ends, *way: str) -> float:
    """One stream, with the tester as iperf3's client: it asks again until the guest listens."""
    options = ("-J", "-t", str(_STREAM_SECONDS), "-p", str(_STREAM_PORT), *way)
    argv = ["iperf3", "-c", str(ends.guest), *options]
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            ran = subprocess.run(
                argv, capture_output=True, text=True, timeout=2 * _PATIENCE, check=False
            )
        except FileNotFoundError as error:
            raise CannotError("iperf3 is not installed", hint="apt-get install iperf3") from error
        except subprocess.TimeoutExpired as error:
            raise CannotError("iperf3 did not end") from error
        if _REFUSED not in ran.stdout + ran.stderr or time.monotonic() > deadline:
            return bits_per_second(ran.stdout)


def _turns(ends: Ends) -> tuple[int, float]:
    """How often a byte came back, and in how many seconds."""
    with _connection(ends) as sock:
        return turns(sock)


def turns(sock: socket.socket) -> tuple[int, float]:
    """The same over a connection that is there. Raises CannotError where it breaks."""
    began = time.monotonic()
    number = 0
    try:
        while time.monotonic() - began < _TURN_SECONDS:
            sock.sendall(b"x")
            if not sock.recv(1):
                raise CannotError("the guest closed the connection")
            number += 1
    except OSError as error:
        raise CannotError(f"the TCP connection to the guest broke: {error}") from error
    return number, time.monotonic() - began


def _connection(ends: Ends) -> socket.socket:
    """Connect as soon as the guest listens: it says so by refusing no longer."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            sock = socket.create_connection((str(ends.guest), _TURN_PORT), _PATIENCE)
        except ConnectionRefusedError as error:
            if time.monotonic() > deadline:
                raise CannotError("the guest does not listen for TCP") from error
        except OSError as error:
            raise CannotError(f"no TCP connection to the guest: {error}") from error
        else:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
