"""The wire format between the lab and the server in the lab host.

A frame is one line of JSON, an object with a key ``bytes``: N, then N raw bytes (the attachment).
Messages, by their key ``kind``:

    lab  -> host   {"kind": "hello", "nonce": ...}
    host -> lab    {"kind": "hello", "nonce": ..., "kernel": ..., "python": ..., "setup": ""}
    lab  -> host   {"kind": "warm", "id": n, "module": ...} + zip; answered by "end"
    lab  -> host   {"kind": "call", "id": n, "entry": "module:function", "argument": {...}} + zip
    host -> lab    {"kind": "event", "id": n, "event": {...}} + attachment
    host -> lab    {"kind": "end", "id": n, "status": 0 | 1, "error": traceback text}

``setup`` names what failed while the lab host was made ready; ``event`` is whatever the function
called reports.

A JSON line holds no newline of its own, so a reader that comes in the middle of something (a
virtio-serial port keeps what an earlier reader left) finds its way back at the next line; the nonce
tells a fresh answer to hello from a stale one.

This file is copied into the image beside the server: nothing but the standard library is imported.
"""

from __future__ import annotations

import json
from typing import Any, BinaryIO

Message = dict[str, Any]

MAX_HEADER = 16 << 20
"""Longest header line in bytes; a longer one is not ours."""


def encode(message: Message, attachment: bytes = b"") -> bytes:
    """One frame as bytes; its ``bytes`` is set from the attachment."""
    header = json.dumps({**message, "bytes": len(attachment)}, separators=(",", ":"))
    return header.encode() + b"\n" + attachment


def write_frame(stream: BinaryIO, message: Message, attachment: bytes = b"") -> None:
    """Write one frame to a buffered stream and flush it."""
    stream.write(encode(message, attachment))
    stream.flush()


def read_frame(stream: BinaryIO) -> tuple[Message, bytes]:
    """Read one frame, skipping lines that are no header.

    Raises EOFError when the stream ends, also in the middle of an attachment.
    """
    while True:
        line = stream.readline(MAX_HEADER)
        if not line.endswith(b"\n"):
            if len(line) < MAX_HEADER:
                raise EOFError("the channel ended")
            continue
        message = _header(line)
        if message is not None:
            return message, _exactly(stream, message["bytes"])


def _header(line: bytes) -> Message | None:
    try:
        message = json.loads(line)
    except ValueError:
        return None
    count = message.get("bytes") if isinstance(message, dict) else None
    return message if isinstance(count, int) and count >= 0 else None


def _exactly(stream: BinaryIO, count: int) -> bytes:
    """``count`` bytes, however the stream cuts them (unbuffered ones return short reads)."""
    parts = bytearray()
    while len(parts) < count:
        part = stream.read(count - len(parts))
        if not part:
            raise EOFError(f"the channel ended after {len(parts)} of {count} bytes")
        parts += part
    return bytes(parts)
