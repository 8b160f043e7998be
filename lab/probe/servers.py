"""The tester's servers for what the guest sends, on ordinary sockets of the kernel.

UDP datagrams are echoed (RFC 862). A TCP stream is answered with its SHA-256 once it has ended: an
echo would make both ends wait for each other as soon as the buffers between them are full.
"""

from __future__ import annotations

import hashlib
import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import IPv4Address

from lab.probe.frames import SOURCE_PORT
from lab.probe.mark import ECHO_PORT, PROBE_PORT, STREAM_PORT

_CHUNK = 65536


@contextmanager
def servers(address: IPv4Address) -> Iterator[None]:
    """Serve in the namespace that the calling thread is in, until the block ends.

    The other ports in use are held open too: the kernel would answer what comes there with "port
    unreachable", which a connected socket in the guest takes for an error.
    """
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        udp = stack.enter_context(_bound(socket.SOCK_DGRAM, address, ECHO_PORT))
        tcp = stack.enter_context(_bound(socket.SOCK_STREAM, address, STREAM_PORT))
        for port in (PROBE_PORT, SOURCE_PORT):
            stack.enter_context(_bound(socket.SOCK_DGRAM, address, port))
        tcp.listen()
        ending, end = socket.socketpair()
        stack.enter_context(ending)
        stack.enter_context(end)
        selector.register(udp, selectors.EVENT_READ, lambda: _echo(udp))
        selector.register(tcp, selectors.EVENT_READ, lambda: _accept(tcp, selector, stack))
        selector.register(ending, selectors.EVENT_READ, None)
        thread = threading.Thread(target=_serve, args=(selector,), name="servers")
        thread.start()
        try:
            yield
        finally:
            end.close()
            thread.join()


def digest_of_stream(address: IPv4Address, data: bytes, seconds: float) -> str:
    """Send bytes to `STREAM_PORT` at ``address``; the SHA-256 that comes back.

    It is empty where the connection failed or stayed silent for ``seconds``.
    """
    try:
        with socket.create_connection((str(address), STREAM_PORT), seconds) as sock:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            return sock.makefile().read().split(" ")[0]
    except OSError:
        return ""


def _serve(selector: selectors.BaseSelector) -> None:
    while True:
        for key, _events in selector.select():
            if key.data is None:
                return
            key.data()


def _bound(kind: socket.SocketKind, address: IPv4Address, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((str(address), port))
    return sock


def _echo(udp: socket.socket) -> None:
    data, sender = udp.recvfrom(_CHUNK)
    udp.sendto(data, sender)


def _accept(tcp: socket.socket, selector: selectors.BaseSelector, stack: ExitStack) -> None:
    connection, _address = tcp.accept()
    stack.enter_context(connection)
    digest = hashlib.sha256()

    def take() -> None:
        with suppress(OSError):  # the guest misses the answer and says so
            if data := connection.recv(_CHUNK):
                digest.update(data)
                return
            connection.sendall(digest.hexdigest().encode())
        selector.unregister(connection)
        connection.close()

    selector.register(connection, selectors.EVENT_READ, take)
