"""Pictures and videos over HTTP and over the socket, on a small vision model of random weights."""

from __future__ import annotations

import base64
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import films
import httpx
import openai
import pytest
import small_models
from PIL import Image, ImageDraw
from scripted import Scripted
from served import Server, serving

from qwen_cli.engines.core.base import seeing as profile
from qwen_cli.errors import UsageError
from qwen_cli.serve.api import chat_request


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, starter_safetensors: Path) -> str:
    return str(small_models.make_seeing("Qwen2_5_VL", tmp_path_factory.mktemp("vl"), starter_safetensors))


@pytest.fixture(scope="module")
def seeing(model: str) -> Iterator[Server]:
    with serving("--engine", "transformers", model=model) as running:
        yield running


def picture() -> bytes:
    image = Image.new("RGB", (320, 240), "white")
    ImageDraw.Draw(image).ellipse((20, 20, 120, 120), fill="red")
    written = io.BytesIO()
    image.save(written, "PNG")
    return written.getvalue()


def address(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def asked(*parts: dict[str, Any]) -> Any:
    return [{"role": "user", "content": [*parts, {"type": "text", "text": "What is this?"}]}]


def ask(server: Server, *parts: dict[str, Any]) -> Any:
    return server.client.chat.completions.create(
        model="", messages=asked(*parts), temperature=0, max_tokens=4
    )


def test_a_picture_is_looked_at(seeing: Server) -> None:
    seen = ask(seeing, {"type": "image_url", "image_url": {"url": address(picture())}})
    blind = ask(seeing)

    assert seen.choices[0].message.content
    # 308 × 252 pixels in patches of 28, and the two marks around them
    assert seen.usage.prompt_tokens - blind.usage.prompt_tokens == 11 * 9 + 2


def test_a_video_is_looked_at(seeing: Server, tmp_path: Path) -> None:
    film = films.make(tmp_path / "film.mp4")
    seen = ask(seeing, {"type": "video_url", "video_url": {"url": address(film.read_bytes(), "video/mp4")}})

    assert seen.choices[0].message.content


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "/etc/passwd",
        "http://127.0.0.1:1/x.png",
        "data:image/png;base64,AAAA",
        "ftp://x/y",
    ],
)
def test_what_may_not_or_cannot_be_looked_at_is_refused(seeing: Server, url: str) -> None:
    with pytest.raises(openai.BadRequestError):
        ask(seeing, {"type": "image_url", "image_url": {"url": url}})


def test_a_bomb_is_refused_and_the_server_lives_on(seeing: Server) -> None:
    bomb = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(bomb, "PNG")
    with pytest.raises(openai.BadRequestError):
        ask(seeing, {"type": "image_url", "image_url": {"url": address(bomb.getvalue())}})

    assert httpx.get(f"{seeing.url}/health").status_code == 200


@pytest.mark.parametrize("name", ["photo.png", "film.mp4"])
def test_the_command_sees_the_same_through_the_server(
    seeing: Server, model: str, tmp_path: Path, name: str
) -> None:
    """The frames of a video go to the server as they are, and nothing of them is left there."""
    file = tmp_path / name
    if name == "film.mp4":
        films.make(file)
    else:
        file.write_bytes(picture())

    def qwen(*words: str) -> subprocess.CompletedProcess[str]:
        command = ["vision", str(file), "What is this?", "-m", model, "--engine", "transformers"]
        return subprocess.run(
            [sys.executable, "-m", "qwen_cli", *command, "-t", "0", "--max-tokens", "6", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env={**os.environ, **seeing.environ},
            timeout=300,
            check=False,
        )

    warmed, cold = qwen(), qwen("--no-server")

    assert warmed.returncode == 0, warmed.stderr
    assert warmed.stdout == cold.stdout
    assert warmed.stdout.strip()
    assert not list((seeing.runtime / "qwen").glob("frames-*"))


class TestOfEachPicture:
    """What is shown to an engine whose answers are written down."""

    def shown(self, tmp_path: Path, *parts: dict[str, Any]) -> list[tuple[int, int]]:
        engine = Scripted(context=32_768)
        engine.capabilities = replace(engine.capabilities, vision=True, seeing=profile("Qwen3-VL"))
        (turn,) = chat_request.with_visual_parts(
            asked(*parts), engine, allow_local_urls=False, scratch=tmp_path, stopped=lambda: False
        )
        return [part["image"].size for part in turn["content"] if part["type"] == "image"]

    def test_low_detail_is_of_one_of_two(self, tmp_path: Path) -> None:
        written = io.BytesIO()
        Image.new("RGB", (1600, 1200)).save(written, "PNG")
        url = address(written.getvalue())
        low, high = ({"type": "image_url", "image_url": {"url": url, "detail": d}} for d in ("low", "high"))
        assert self.shown(tmp_path, low, high) == [(576, 416), (1600, 1216)]
        assert self.shown(tmp_path, high, low) == [(1600, 1216), (576, 416)]

    def test_half_a_photograph_is_refused(self, tmp_path: Path) -> None:
        written = io.BytesIO()
        Image.effect_noise((640, 480), 60).save(written, "JPEG")
        half = written.getvalue()[: len(written.getvalue()) // 2]
        part = {"type": "image_url", "image_url": {"url": address(half, "image/jpeg")}}
        with pytest.raises(UsageError, match="is cut off"):
            self.shown(tmp_path, part)
        part["image_url"] = {"url": address(written.getvalue()[:-2], "image/jpeg")}
        assert self.shown(tmp_path, part) == [(640, 480)]
