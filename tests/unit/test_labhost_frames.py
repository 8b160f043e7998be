"""The wire format: whatever the stream does to the bytes, frames come out whole or not at all."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from lab.labhost import frames
from lab.labhost.frames import encode, read_frame, write_frame

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

HELLO = {"kind": "hello", "nonce": "n1"}


class Dribble(io.RawIOBase):
    """A stream that gives one byte at a time, as a slow channel may."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        return self._data.readinto(memoryview(buffer)[:1])


def test_message_and_attachment_come_back() -> None:
    stream = io.BytesIO()
    write_frame(stream, HELLO, b"\x00\n{}\xff")
    stream.seek(0)
    assert read_frame(stream) == ({**HELLO, "bytes": 5}, b"\x00\n{}\xff")


def test_stale_count_in_the_message_is_replaced() -> None:
    assert read_frame(io.BytesIO(encode({"bytes": 99}, b"ab"))) == ({"bytes": 2}, b"ab")


def test_frames_survive_single_byte_reads() -> None:
    data = encode(HELLO, b"abc") + encode({"kind": "end"})
    stream = io.BufferedReader(Dribble(data), buffer_size=1)
    assert read_frame(stream)[1] == b"abc"
    assert read_frame(stream)[0]["kind"] == "end"


@pytest.mark.parametrize(
    "garbage",
    [
        b"login: \r\n",
        b"\xff\xfe\x00\n",
        b"\n",
        b'{"kind": "hello"}\n',
        b'{"bytes": "3"}\n',
        b'{"bytes": -1}\n',
        b'["bytes", 3]\n',
        b'half of an older frame"}\n',
    ],
)
def test_lines_that_are_no_header_are_skipped(garbage: bytes) -> None:
    assert read_frame(io.BytesIO(garbage + encode(HELLO)))[0]["nonce"] == "n1"


def test_overlong_line_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MAX_HEADER", 64)
    assert read_frame(io.BytesIO(b"x" * 1000 + b"\n" + encode(HELLO)))[0]["nonce"] == "n1"


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_end_in_the_middle_is_an_end(cut: int) -> None:
    data = encode(HELLO, b"attachment")
    with pytest.raises(EOFError, match="the channel ended"):
        read_frame(io.BytesIO(data[:-cut]))
