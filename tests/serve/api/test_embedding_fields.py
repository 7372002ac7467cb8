"""Fields of requests for vectors: what reaches the model, and what comes back."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from qwen_cli.errors import ContextFull, UsageError
from qwen_cli.serve.api.rerank import INSTRUCTION
from tests.serve.played import Here, Played, serving


@dataclass
class Vectors:
    """Gives (0.6, 0.8, 0) to each text, of 10 characters at most; `asked` are the texts."""

    model: str = "vectors"
    context: int = 10
    asked: list[Any] = field(default_factory=list)

    def embed(self, texts: Sequence[Any], *, cut: bool = False) -> tuple[list[list[float]], int]:
        if not all(texts):
            raise UsageError("a text to embed is empty")
        self.asked += [text[: self.context] if cut else text for text in texts]
        if (longest := max(map(len, self.asked))) > 200:
            raise ContextFull(longest, self.context)
        return [[0.6, 0.8, 0.0] for _ in texts], 7


@pytest.fixture
def vectors() -> Vectors:
    return Vectors()


@pytest.fixture
def here(vectors: Vectors) -> Iterator[Here]:
    with serving(Played(), embedder=vectors) as running:
        yield running


@pytest.mark.parametrize("route", ["/v1/embeddings", "/api/embed"])
@pytest.mark.parametrize("given", ["a", ["a"], ["a", "b", "a"]])
def test_a_text_or_several(here: Here, vectors: Vectors, route: str, given: Any) -> None:
    answer = here.post(route, {"model": "", "input": given}).json()

    assert len(answer.get("data") or answer["embeddings"]) == len(given)
    assert vectors.asked == list(given)


def test_tokens(here: Here, vectors: Vectors) -> None:
    assert here.post("/v1/embeddings", {"input": [1, 2]}).status_code == 200
    assert here.post("/v1/embeddings", {"input": [[1, 2], [3], "x"]}).status_code == 200
    assert vectors.asked == [[1, 2], [1, 2], [3], "x"]


@pytest.mark.parametrize("route", ["/v1/embeddings", "/api/embed"])
def test_fewer_dimensions_are_of_length_one(here: Here, route: str) -> None:
    answer = here.post(route, {"input": "a", "dimensions": 1}).json()

    assert (answer.get("embeddings") or [answer["data"][0]["embedding"]]) == [[1.0]]
    for wrong in (0, 4, -1, 1.5):
        assert here.post(route, {"input": "a", "dimensions": wrong}).status_code == 400


def test_base64(here: Here) -> None:
    answer = here.post("/v1/embeddings", {"input": "a", "encoding_format": "base64"}).json()

    packed = base64.b64decode(answer["data"][0]["embedding"])
    assert struct.unpack("<3f", packed) == pytest.approx((0.6, 0.8, 0.0))
    assert here.post("/v1/embeddings", {"input": "a", "encoding_format": "hex"}).status_code == 400


@pytest.mark.parametrize(
    ("fields", "seen"),
    [
        ({}, "cats"),
        ({"input_type": "document"}, "cats"),
        ({"input_type": "query"}, f"Instruct: {INSTRUCTION}\nQuery:cats"),
        ({"input_type": "search_query"}, f"Instruct: {INSTRUCTION}\nQuery:cats"),
        ({"instruction": "Find"}, "Instruct: Find\nQuery:cats"),
        ({"input_type": "query", "instruction": "Find"}, "Instruct: Find\nQuery:cats"),
    ],
)
def test_the_instruction_of_a_query(here: Here, vectors: Vectors, fields: Any, seen: str) -> None:
    assert here.post("/v1/embeddings", {"input": "cats", **fields}).status_code == 200
    assert vectors.asked == [seen]


@pytest.mark.parametrize(
    "fields",
    [
        {"input_type": "question"},
        {"input_type": "document", "instruction": "Find"},
        {"instruction": 3},
        {"input": [1, 2], "input_type": "query"},
        {"input": None},
        {"input": []},
        {"input": [""]},
        {"input": [[]]},
        {"input": {"text": "a"}},
    ],
)
def test_what_is_refused(here: Here, vectors: Vectors, fields: Any) -> None:
    assert here.post("/v1/embeddings", {"input": "cats", **fields}).status_code == 400
    assert not vectors.asked


def test_ollama_cuts_what_is_too_long_unless_told(here: Here, vectors: Vectors) -> None:
    long = "x" * 300
    assert here.post("/api/embed", {"input": long}).status_code == 200
    assert here.post("/api/embed", {"input": ["a", long], "truncate": True}).status_code == 200
    assert here.post("/api/embeddings", {"prompt": long}).json()["embedding"] == [0.6, 0.8, 0.0]
    assert vectors.asked == ["x" * 10, "a", "x" * 10, "x" * 10]
    assert here.post("/api/embed", {"input": long, "truncate": False}).status_code == 400
    assert here.post("/api/embed", {"input": "a", "truncate": "no"}).status_code == 400
    assert here.post("/v1/embeddings", {"input": long}).json()["error"]["code"] == "context_length_exceeded"
