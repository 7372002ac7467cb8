"""Messages between the caller and the code's process, over a socket that keeps packets apart.

Each run has a secret token that both sides put before everything they say about it. What the code writes to
the descriptor without knowing the token arrives as a packet of its own and is dropped.
"""

from __future__ import annotations

import os

TOKEN_BYTES = 16
FRAGMENT = 60_000  # well under net.core.wmem_default (212,992), so that a packet always fits
_HEADER = TOKEN_BYTES + 2

# Kinds of message. To the code's process: CODE. From it: READY or REFUSED once, then RESULT and PLOTs.
CODE, READY, REFUSED, RESULT, PLOT = b"C", b"Y", b"X", b"R", b"P"


def packets(token: bytes, kind: bytes, data: bytes) -> list[bytes]:
    """`data` as packets: token, kind, whether it is the last one, at most `FRAGMENT` bytes."""
    parts = [data[i : i + FRAGMENT] for i in range(0, len(data), FRAGMENT)] or [b""]
    return [token + kind + (b"." if part is parts[-1] else b"+") + part for part in parts]


def parse(packet: bytes) -> tuple[bytes, bytes, bool, bytes] | None:
    """(token, kind, last, data), or `None` for a packet that is too short to be one."""
    if len(packet) < _HEADER:
        return None
    kind = packet[TOKEN_BYTES : TOKEN_BYTES + 1]
    return packet[:TOKEN_BYTES], kind, packet[TOKEN_BYTES + 1 : _HEADER] == b".", packet[_HEADER:]


def send(fd: int, token: bytes, kind: bytes, data: bytes) -> None:
    """Write one message; waits while the other side does not read."""
    for packet in packets(token, kind, data):
        os.write(fd, packet)


def receive(fd: int) -> tuple[bytes, bytes] | None:
    """Read one message of the caller: (token, data); `None` once it has gone."""
    data = b""
    while packet := os.read(fd, FRAGMENT + _HEADER):
        parsed = parse(packet)
        if parsed is None:
            continue
        token, _, last, part = parsed
        data += part
        if last:
            return token, data
    return None
