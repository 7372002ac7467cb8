"""Sounds in chat: `input_audio` and `audio_url`, the model asked before anything is fetched or decoded."""

from __future__ import annotations

import base64
import http.server
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest
import sounds

from qwen_cli.engines.core.base import Capabilities
from qwen_cli.media import audio
from tests.serve.played import Here, Played, serving

CAN = Capabilities(4096, audio=True)
SOUND = sounds.encoded(sounds.tones(1.0), "wav")
DATA = base64.b64encode(SOUND).decode()


@pytest.fixture
def model() -> Played:
    return Played(capabilities=CAN)


@pytest.fixture
def here(model: Played) -> Iterator[Here]:
    with serving(model) as running:
        yield running


def asked(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [*parts, {"type": "text", "text": "what is it?"}]}]}


def given(data: str = DATA, form: str = "wav") -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": {"data": data, "format": form}}


def at(url: str) -> dict[str, Any]:
    return {"type": "audio_url", "audio_url": {"url": url}}


def ask(here: Here, *parts: dict[str, Any]) -> httpx.Response:
    return here.post("/v1/chat/completions", asked(*parts))


@pytest.mark.parametrize(
    "part", [given(), given(f"data:audio/wav;base64,{DATA}"), at(f"data:audio/wav;base64,{DATA}")]
)
def test_the_engine_hears_it(here: Here, model: Played, part: dict[str, Any]) -> None:
    answer = ask(here, part)

    assert answer.status_code == 200, answer.text
    heard, text = model.seen[0].messages[0]["content"]
    assert heard["type"] == "audio"
    assert np.array_equal(heard["audio"], audio.decode(SOUND, "x").samples)
    assert text == {"type": "text", "text": "what is it?"}


@pytest.mark.parametrize("kind", ["flac", "ogg", "m4a"])
def test_formats_that_openai_does_not_name(here: Here, model: Played, kind: str) -> None:
    data = base64.b64encode(sounds.encoded(sounds.tones(1.0), kind)).decode()

    assert ask(here, given(data, kind)).status_code == 200
    assert abs(len(model.seen[0].messages[0]["content"][0]["audio"]) - 16_000) < 2_000


def test_several_in_several_turns(here: Here, model: Played) -> None:
    turns = [
        *asked(given())["messages"],
        {"role": "assistant", "content": "a"},
        *asked(given(), given())["messages"],
    ]
    answer = here.post("/v1/chat/completions", {"messages": turns})

    assert answer.status_code == 200
    kinds = [
        [part["type"] for part in turn["content"]]
        for turn in model.seen[0].messages
        if turn["role"] == "user"
    ]
    assert kinds == [["audio", "text"], ["audio", "audio", "text"]]


def test_openais_client(here: Here, model: Played) -> None:
    made: Any = asked(given())["messages"]
    here.client.chat.completions.create(model="x", messages=made)

    assert model.seen[0].messages[0]["content"][0]["type"] == "audio"


@pytest.mark.parametrize(
    ("part", "says"),
    [
        (given("!!!"), "base64"),
        (given(base64.b64encode(b"words " * 50).decode()), "not a sound"),
        (given(DATA, "midi"), "format must be one of"),
        ({"type": "input_audio"}, "data and format"),
        ({"type": "input_audio", "input_audio": {"format": "wav"}}, "data and format"),
        ({"type": "audio_url", "audio_url": DATA}, "object with a url"),
        (at("file:///etc/passwd"), "no address of a sound"),
        (at("/etc/passwd"), "no address of a sound"),
        (at("http://127.0.0.1:1/x.wav"), "127.0.0.1"),
        (at("data:audio/wav;base64,"), "holds nothing"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_what_is_no_sound(here: Here, model: Played, part: dict[str, Any], says: str) -> None:
    answer = ask(here, part)

    assert answer.status_code == 400
    assert says in answer.json()["error"]["message"]
    assert not model.seen


def test_a_model_that_hears_nothing_is_told_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "decode", lambda *_, **__: pytest.fail("it was decoded"))
    for can in (Capabilities(4096), replace(CAN, audio=False, vision=True)):
        with serving(Played(capabilities=can)) as here:
            for path in ("/v1/chat/completions", "/v1/chat/completions/input_tokens"):
                answer = here.post(path, asked(given()))
                assert answer.status_code == 400 and "sound" in answer.json()["error"]["message"]


def test_all_sounds_share_one_limit(model: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    from qwen_cli.serve.api import sounds as serve_sounds

    monkeypatch.setattr(serve_sounds, "MOST_SECONDS", 2.5)
    with serving(model) as here:
        assert ask(here, given(), given()).status_code == 200
        assert "longer than" in ask(here, given(), given(), given()).json()["error"]["message"]


def test_an_address_of_the_web(model: Played) -> None:
    class Files(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "audio/wav")
            self.end_headers()
            self.wfile.write(SOUND)

        def log_message(self, *_: Any) -> None: ...

    files = http.server.HTTPServer(("127.0.0.1", 0), Files)
    threading.Thread(target=files.serve_forever, daemon=True).start()
    try:
        with serving(model, allow_local_urls=True) as here:
            assert ask(here, at(f"http://127.0.0.1:{files.server_port}/a.wav")).status_code == 200
    finally:
        files.shutdown()
    assert len(model.seen[0].messages[0]["content"][0]["audio"]) == 16_000
