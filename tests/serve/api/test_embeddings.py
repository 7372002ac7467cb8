"""Vectors from an embedding model: the starter's weights in a file that says which of its states is one."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from gguf import GGUFReader
from served import Server, serving

from qwen_cli.serve.api import embeddings
from qwen_cli.serve.api.errors import Refused

TEXTS = ["A cat sits on the mat.", "A kitten lies on the rug.", "The stock market fell."]
_LAST = 3  # llama.cpp's LLAMA_POOLING_TYPE_LAST, which Qwen3-Embedding has


def pooled(source: Path, target: Path) -> Path:
    """`source` with one more line in its metadata, as the files of Qwen3-Embedding have it."""
    reader = GGUFReader(str(source))
    data = source.read_bytes()
    key = b"qwen2.pooling_type"
    line = struct.pack("<Q", len(key)) + key + struct.pack("<II", 4, _LAST)
    table = reader.tensors[0].field.offset
    end = max(t.field.offset + sum(part.nbytes for part in t.field.parts) for t in reader.tensors)
    (lines,) = struct.unpack_from("<Q", data, 16)
    head = data[:16] + struct.pack("<Q", lines + 1) + data[24:table] + line + data[table:end]
    target.write_bytes(head + b"\0" * (-len(head) % reader.alignment) + data[reader.data_offset :])
    return target


@pytest.fixture(scope="module")
def embedding(starter_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    file = pooled(starter_gguf, tmp_path_factory.mktemp("embedding") / "vectors.gguf")
    with serving(model=str(file)) as running:
        yield running
    file.unlink()


def dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_alike_texts_have_alike_vectors(embedding: Server) -> None:
    done = embedding.client.embeddings.create(model="", input=TEXTS)  # base64, as the client asks for it

    cat, kitten, market = (one.embedding for one in done.data)
    assert len(cat) == 896
    assert math.isclose(dot(cat, cat), 1, abs_tol=1e-4)
    assert dot(cat, kitten) > dot(cat, market) + 0.1
    assert done.usage.prompt_tokens == done.usage.total_tokens > 10


def test_floats_and_fewer_dimensions(embedding: Server) -> None:
    whole = embedding.client.embeddings.create(model="", input=TEXTS[0], encoding_format="float").data[0]
    short = embedding.client.embeddings.create(
        model="", input=TEXTS[0], encoding_format="float", dimensions=64
    ).data[0]

    assert len(short.embedding) == 64
    assert math.isclose(sum(value * value for value in short.embedding), 1, abs_tol=1e-4)
    assert short.embedding[0] / short.embedding[1] == pytest.approx(whole.embedding[0] / whole.embedding[1])


def test_what_it_cannot_do_is_refused(embedding: Server) -> None:
    with pytest.raises(openai.BadRequestError, match="an embedding model"):
        embedding.client.completions.create(model="", prompt="one, two,")
    with pytest.raises(openai.BadRequestError) as long:
        embedding.client.embeddings.create(model="", input="word " * 9000)
    assert long.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError, match="dimensions"):
        embedding.client.embeddings.create(model="", input="x", dimensions=5000)
    with pytest.raises(openai.BadRequestError, match="empty"):
        embedding.client.embeddings.create(model="", input=["x", ""])


class TestWhatIsEmbedded:
    """llama.cpp's forms of a text beside OpenAI's."""

    @pytest.mark.parametrize(
        ("given", "texts"),
        [
            ("a", ["a"]),
            ([1, 2], [[1, 2]]),
            ([1, "a", 2], [[1, "a", 2]]),
            (["a", [1, "b"]], ["a", [1, "b"]]),
            ({"prompt_string": "a"}, ["a"]),
            ({"content": [{"type": "text", "text": "a "}, {"type": "text", "text": "b"}]}, ["a b"]),
            (["a", {"prompt_string": "b"}, {"content": [{"type": "text", "text": "c"}]}], ["a", "b", "c"]),
        ],
        ids=str,
    )
    def test_forms(self, given: Any, texts: list[Any]) -> None:
        assert embeddings._read({"input": given})[1] == texts

    @pytest.mark.parametrize(
        "given",
        [
            *([], True, None, 1.5, {}, [True], [[1, None]], [None]),
            *({"content": "a"}, {"content": []}, {"content": [{"type": "unknown"}]}, {"prompt_string": 5}),
            {"content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
            {"prompt_string": "a", "multimodal_data": ["AAAA"]},
        ],
        ids=str,
    )
    def test_what_is_none(self, given: Any) -> None:
        with pytest.raises(Refused) as refused:
            embeddings._read({"input": given})

        assert (refused.value.status, refused.value.param) == (400, "input")
