"""TCP over one NIC: streams both ways (iperf3), and bytes that go to and fro one by one."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from lab.errors import CannotError
from lab.evidence import TcpEvidence
from lab.probe.frames import Ends
from lab.probe.lane import Guest, Lane

_STREAM_PORT, _TURN_PORT = 9479, 9480
_STREAM_SECONDS, _TURN_SECONDS = 1, 0.5
_PATIENCE = 10.0
_CLIENT = "iperf3 -J -c {peer} -p {port} -t {seconds} {way}"
# It ends with its first connection, or when nobody comes.
_ECHO = """
socat -T {patience:.0f} TCP4-LISTEN:{port},reuseaddr,accept-timeout={patience:.0f} PIPE \\
  </dev/null >/dev/null 2>&1 &
"""


def observe_tcp(lane: Lane) -> TcpEvidence:
    """Send in the namespace that the calling thread is in. Raises CannotError."""
    out_bps = _stream(lane, "")
    in_bps = _stream(lane, "-R")
    transactions, seconds = _turns(lane.guest, lane.ends)
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


def _stream(lane: Lane, way: str) -> float:
    command = _CLIENT.format(
        peer=lane.ends.tester, port=_STREAM_PORT, seconds=_STREAM_SECONDS, way=way
    )
    with _server(lane.ends):
        ran = lane.guest.run(command)
    if ran.err.strip():
        raise CannotError(f"iperf3 in the guest: {ran.err.strip()}")
    return bits_per_second(ran.raw.decode(errors="replace"))


@contextmanager
def _server(ends: Ends) -> Iterator[None]:
    """An iperf3 that listens when this yields, and serves one client."""
    program = shutil.which("iperf3")
    if program is None:
        raise CannotError("iperf3 is not installed", hint="apt-get install iperf3")
    argv = [program, "-s", "-1", "-B", str(ends.tester), "-p", str(_STREAM_PORT), "--forceflush"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as server:
        try:
            assert server.stdout is not None
            if not any(b"listening" in line for line in server.stdout):
                raise CannotError("iperf3 does not listen")
            yield
        finally:
            server.terminate()


def _turns(guest: Guest, ends: Ends) -> tuple[int, float]:
    """How often a byte came back, and in how many seconds."""
    guest.run(_ECHO.format(port=_TURN_PORT, patience=_PATIENCE))
    with _connection(ends) as sock:
        began = time.monotonic()
        number = 0
        while time.monotonic() - began < _TURN_SECONDS:
            sock.sendall(b"x")
            if not sock.recv(1):
                raise CannotError("the guest closed the connection")
            number += 1
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
