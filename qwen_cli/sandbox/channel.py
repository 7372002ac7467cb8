"""Messages between the caller and the code's process, over a socket that keeps packets apart.

Each run has a secret token that both sides put before everything they say about it. What the code writes to
the descriptor without knowing the token arrives as a packet of its own and is dropped. Where there are no
such sockets (macOS) a stream is used, its packets behind their length; code that writes into that is ended.
"""

from __future__ import annotations

import os
import struct

TOKEN_BYTES = 16
FRAGMENT = 60_000  # well under net.core.wmem_default (212,992), so that a packet always fits
_HEADER = TOKEN_BYTES + 2
_LENGTH = struct.Struct("!I")

# Kinds of message. To the code's process: CODE. From it: READY or REFUSED once, then RESULT and PLOTs.
# To the supervisor, one byte at a time: a run begins, a run is over.
GO, REST = b"g", b"r"
CODE, READY, REFUSED, RESULT, PLOT = b"C", b"Y", b"X", b"R", b"P"


def packets(token: bytes, kind: bytes, data: bytes) -> list[bytes]:
    """Split `data` into packets: token, kind, whether it is the last one, at most `FRAGMENT` bytes."""
    parts = [data[i : i + FRAGMENT] for i in range(0, len(data), FRAGMENT)] or [b""]
    return [token + kind + (b"." if part is parts[-1] else b"+") + part for part in parts]


def parse(packet: bytes) -> tuple[bytes, bytes, bool, bytes] | None:
    """Return (token, kind, last, data), or `None` for a packet that is too short to be one."""
    if len(packet) < _HEADER:
        return None
    kind = packet[TOKEN_BYTES : TOKEN_BYTES + 1]
    return packet[:TOKEN_BYTES], kind, packet[TOKEN_BYTES + 1 : _HEADER] == b".", packet[_HEADER:]


def send(fd: int, token: bytes, kind: bytes, data: bytes, *, stream: bool = False) -> None:
    """Write one message; waits while the other side does not read."""
    for packet in packets(token, kind, data):
        left = memoryview(frame(packet) if stream else packet)
        while left:
            left = left[os.write(fd, left) :]


def receive(fd: int, *, stream: bool = False) -> tuple[bytes, bytes] | None:
    """Read one message of the caller: (token, data); `None` once it has gone."""
    data = b""
    while packet := _read_frame(fd) if stream else os.read(fd, FRAGMENT + _HEADER):
        parsed = parse(packet)
        if parsed is None:
            continue
        token, _, last, part = parsed
        data += part
        if last:
            return token, data
    return None


def frame(packet: bytes) -> bytes:
    """Return `packet` as a stream carries it."""
    return _LENGTH.pack(len(packet)) + packet


def unframe(buffer: bytearray) -> list[bytes]:
    """Take the whole packets off the front of `buffer`. Raises `ValueError` where that is none of ours."""
    packets = []
    while len(buffer) >= _LENGTH.size:
        (length,) = _LENGTH.unpack_from(buffer)
        if length > FRAGMENT + _HEADER:
            raise ValueError(f"a packet of {length:,} bytes")
        if len(buffer) < _LENGTH.size + length:
            break
        packets.append(bytes(buffer[_LENGTH.size : _LENGTH.size + length]))
        del buffer[: _LENGTH.size + length]
    return packets


def _read_frame(fd: int) -> bytes:
    head = _read_exactly(fd, _LENGTH.size)
    return _read_exactly(fd, *_LENGTH.unpack(head)) if head else b""


def _read_exactly(fd: int, count: int) -> bytes:
    """Read `count` bytes, or return none once the other side has gone."""
    data = b""
    while len(data) < count:
        part = os.read(fd, count - len(data))
        if not part:
            return b""
        data += part
    return data
