"""What the caller takes of what the code's process sends with the right token: little, and of known kinds."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from qwen_cli.sandbox import channel, runner
from qwen_cli.sandbox.process import _Reply
from qwen_cli.sandbox.truncate import Ends
from tests.sandbox.test_pictures import WHOLE

TOKEN = b"t" * channel.TOKEN_BYTES


def reply() -> _Reply:
    return _Reply(TOKEN, Ends(100), None)


def sent(kind: bytes, data: bytes, to: _Reply) -> bool:
    """Whether all of a message is taken."""
    return all(to.take(packet) for packet in channel.packets(TOKEN, kind, data))


@pytest.mark.parametrize("kind", [bytes([n]) for n in range(256) if bytes([n]) not in (b"R", b"P")])
def test_an_unknown_kind_is_none_of_ours(kind: bytes) -> None:
    assert not reply().take(TOKEN + kind + b"+" + b"x" * 50_000)


def test_sixteen_plots_are_taken_and_no_more() -> None:
    to = reply()
    assert all(sent(channel.PLOT, WHOLE, to) for _ in range(runner.PLOTS))
    assert not sent(channel.PLOT, WHOLE, to)


@pytest.mark.parametrize("plot", [b"", b"FORGED", WHOLE[:-1], b"x" * (runner.PLOT_BYTES + 1)])
def test_a_plot_is_a_picture(plot: bytes) -> None:
    assert not sent(channel.PLOT, plot, reply())


def test_a_message_that_never_ends_is_cut_off() -> None:
    for kind in (channel.RESULT, channel.PLOT):
        to = reply()
        taken = [to.take(TOKEN + kind + b"+" + b"x" * 60_000) for _ in range(200)]
        assert not all(taken)


@pytest.mark.parametrize(
    "result",
    [
        {"status": "ok", "value": None},
        {"status": "error", "error": 'a "quote" and \\', "traceback": "[{[\\\\"},
        {"status": "ok", "exit": 0, "error": None},
        {"status": "ok", "value": '[1, 2, {"a": ["\\"]}]' * 4_000},
        {"status": "ok", "value": "\ud800\U0001f600\0" * 30_000},
    ],
)
def test_every_result_of_the_runner_is_taken(result: dict[str, object]) -> None:
    to = reply()
    assert sent(channel.RESULT, json.dumps(result).encode(), to)
    assert to.result == result


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 1_900_000,
        b'{"status": [' + b"[]," * 600_000 + b"[]]}",
        b'{"a":' * 380_000,
        b"{" + b",".join(b'"%06d":1' % n for n in range(180_000)) + b"}",
        b'"' + rb"\"" * 900_000,
        b"{}{}",
        b"null",
        b"1" * 1_900_000,
    ],
)
def test_no_result_grows_the_caller(text: bytes) -> None:
    to = reply()
    packets = channel.packets(TOKEN, channel.RESULT, text)
    tracemalloc.start()
    taken = all(map(to.take, packets))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not taken
    assert peak < 12 << 20
