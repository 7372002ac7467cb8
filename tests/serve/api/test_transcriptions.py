"""`/v1/audio/transcriptions`: OpenAI's form, what cannot be given refused, the model asked first."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import heard
import httpx
import openai
import pytest
import sounds

from qwen_cli.media import audio
from tests.serve.played import Here, Played, serving

SOUND = sounds.encoded(sounds.tones(1.0), "wav")


@pytest.fixture
def model() -> heard.Recogniser:
    return heard.Recogniser()


@pytest.fixture
def here(model: heard.Recogniser) -> Iterator[Here]:
    with serving(model) as running:
        yield running


def post(here: Here, data: bytes = SOUND, name: str = "said.wav", **fields: str) -> httpx.Response:
    return httpx.post(
        f"{here.url}/v1/audio/transcriptions", files={"file": (name, data)}, data=fields, timeout=60
    )


def test_openais_client(here: Here, model: heard.Recogniser) -> None:
    made = here.client.audio.transcriptions.create(
        model="played", file=("a.wav", SOUND), language="en", prompt="Tongyi", temperature=0.2
    )

    assert made.text == "language English<asr_text>hello there"  # asked for: no head is taken off
    asked = model.heard[0]
    assert (asked["language"], asked["context"]) == ("English", "Tongyi")
    assert asked["sampling"].temperature == 0.2
    assert made.usage and made.usage.type == "tokens" and made.usage.input_tokens == 10


def test_forms(here: Here) -> None:
    assert post(here).json()["text"] == "hello there"
    assert post(here, response_format="text").text == "hello there\n"
    whole = post(here, response_format="verbose_json").json()
    assert (whole["text"], whole["language"], whole["duration"]) == ("hello there", "english", 1.0)
    assert "segments" not in whole


def test_streamed(here: Here) -> None:
    events = list(here.client.audio.transcriptions.create(model="x", file=("a.wav", SOUND), stream=True))

    assert "".join(one.delta for one in events if one.type == "transcript.text.delta") == "hello there"
    assert events[-1].type == "transcript.text.done" and events[-1].text == "hello there"


@pytest.mark.parametrize("kind", ["mp3", "m4a", "webm"])
def test_containers(here: Here, kind: str) -> None:
    assert post(here, sounds.encoded(sounds.tones(1.0), kind), f"a.{kind}").json()["text"] == "hello there"


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"response_format": "srt"}, "response_format", "gives none"),
        ({"response_format": "vtt"}, "response_format", "gives none"),
        ({"response_format": "xml"}, "response_format", "json, text or verbose_json"),
        ({"timestamp_granularities[]": "word"}, "timestamp_granularities", "no times"),
        ({"include[]": "logprobs"}, "include", "log probabilities"),
        ({"known_speaker_names[]": "A"}, "known_speaker_names", "speakers"),
        ({"temperature": "hot"}, "temperature", "0 to 2"),
        ({"temperature": "nan"}, "temperature", "0 to 2"),
        ({"stream": "perhaps"}, "stream", "true or false"),
        ({"language": "tlh"}, None, "knows no language"),
        ({"hotwords": "x"}, "hotwords", "no field"),
        ({"chunking_strategy": '{"type": "server_vad"}'}, "chunking_strategy", "auto"),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_given_is_refused(
    here: Here, model: heard.Recogniser, fields: dict[str, str], param: str | None, says: str
) -> None:
    answer = post(here, **fields)
    error = answer.json()["error"]

    assert (answer.status_code, error["param"]) == (400, param)
    assert says in error["message"]
    assert not model.heard


def test_what_is_no_recording(here: Here) -> None:
    for data, says in ((b"words " * 99, "not a sound"), (b"", "empty"), (SOUND[:20], "not a sound")):
        answer = post(here, data)
        assert answer.status_code == 400 and says in answer.json()["error"]["message"]


def test_forms_that_are_none(here: Here) -> None:
    url = f"{here.url}/v1/audio/transcriptions"
    assert httpx.post(url, json={"file": "x"}).status_code == 415
    assert httpx.post(url, files={"sound": b"x"}).json()["error"]["param"] == "file"
    assert httpx.post(url, files=[("file", b"x"), ("file2", b"y")]).status_code == 400
    boundary = {"content-type": "multipart/form-data; boundary=b"}
    assert httpx.post(url, content=b"--b\r\nnonsense", headers=boundary).status_code == 400
    assert httpx.post(url, content=b"x", headers={"content-type": "multipart/form-data"}).status_code == 400
    many = {f"f{number}": "x" for number in range(100)}
    assert httpx.post(url, files={"file": SOUND}, data=many).status_code == 400


def test_limits(model: heard.Recogniser, monkeypatch: pytest.MonkeyPatch) -> None:
    from qwen_cli.serve.api import transcriptions

    with serving(model, max_body=10_000) as here:
        assert post(here).status_code == 413
    monkeypatch.setattr(transcriptions, "MOST_SECONDS", 0.5)
    with serving(model) as here:
        assert "longer than" in post(here).json()["error"]["message"]


def test_a_model_that_hears_nothing_is_told_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "decode", lambda *_, **__: pytest.fail("it was decoded"))
    with serving(Played()) as here:
        answer = post(here)
        assert answer.status_code == 400 and "no speech recogniser" in answer.json()["error"]["message"]


def test_a_fault_on_the_way_ends_the_stream(here: Here, model: heard.Recogniser, monkeypatch: Any) -> None:
    from qwen_cli.engines.core.base import Piece
    from qwen_cli.errors import EngineError

    def failing(*_: Any, **__: Any) -> Iterator[Piece]:
        yield Piece("Hello")
        raise EngineError("out of memory")

    monkeypatch.setattr(model, "transcribe", failing)
    lines = [line for line in post(here, stream="true").text.splitlines() if line.startswith("data")]
    assert "out of memory" in json.loads(lines[-1][6:])["error"]["message"]
    with pytest.raises(openai.APIError):
        here.client.audio.transcriptions.create(model="x", file=("a.wav", SOUND))
