"""Qwen3-Embedding and Qwen3-Reranker on both local engines: the numbers of the scripts on their model cards,
on small random models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import retrieval
import small_gguf

from qwen_cli.engines import load
from qwen_cli.engines.core.embedder import Embedder
from qwen_cli.errors import ContextFull, EngineError, ModelError, RequestRefused, UsageError
from qwen_cli.models.hub.resolve import Weights
from qwen_cli.serve.api import rerank

TEXTS = [
    "Instruct: find\nQuery:what is a cat",
    "a cat",
    "the other one is a good deal longer than that, and ends",
]
CLOSE = 1e-3
END = small_gguf.IDS["<|endoftext|>"]


def weights(path: Path) -> Weights:
    return Weights(path.stem, path, "gguf" if path.is_file() else "safetensors", None)


def near(one: Sequence[float], other: Sequence[float]) -> bool:
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) < CLOSE


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return retrieval.embedding(tmp_path_factory.mktemp("vectors"))


@pytest.fixture(scope="module", params=["transformers", "llamacpp"])
def embedder(request: pytest.FixtureRequest, vectors: tuple[Path, Path]) -> Iterator[Embedder]:
    loaded = load.embedder(weights(vectors[request.param == "llamacpp"]))
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def expected(vectors: tuple[Path, Path]) -> Callable[[Sequence[str]], list[list[float]]]:
    """The script of Qwen3-Embedding's card: filled up on the left, the last token's state, of length 1. Its
    tokenizer puts the end behind each text."""
    import torch
    import torch.nn.functional as F
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(vectors[0], padding_side="left")
    model = AutoModel.from_pretrained(vectors[0], dtype=torch.float32).eval()

    def embedded(texts: Sequence[str]) -> list[list[float]]:
        ended = [f"{text}<|endoftext|>" for text in texts]
        batch = tokenizer(ended, padding=True, return_tensors="pt")
        with torch.inference_mode():
            states = model(**batch).last_hidden_state
        return F.normalize(states[:, -1], p=2, dim=1).tolist()

    return embedded


def test_vectors_are_those_of_the_card(embedder: Embedder, expected: Any) -> None:
    made, tokens = embedder.embed(TEXTS)

    assert all(map(near, made, expected(TEXTS)))
    assert not near(made[0], made[1])
    assert all(map(near, made, [embedder.embed([text])[0][0] for text in TEXTS]))
    assert tokens > sum(map(len, TEXTS)) // 4


def test_tokens_are_as_good_as_text(embedder: Embedder, vectors: tuple[Path, Path]) -> None:
    from transformers import AutoTokenizer

    ids = AutoTokenizer.from_pretrained(vectors[0])(TEXTS[2])["input_ids"]
    text, with_end, without = embedder.embed([TEXTS[2], [*ids, END], ids])[0]

    assert near(text, with_end)
    assert near(text, without)


def test_what_is_too_long_is_an_error_or_cut(embedder: Embedder, expected: Any) -> None:
    words = "a cat, " * embedder.context
    with pytest.raises(ContextFull):
        embedder.embed([TEXTS[0], words])
    whole = "c" * (embedder.context - 1)
    (cut, short), tokens = embedder.embed([f"{whole}dddd", TEXTS[1]], cut=True)

    assert near(cut, embedder.embed([whole])[0][0])  # 16 bits of a KV cache add up over such a length
    assert near(short, expected([TEXTS[1]])[0])
    assert embedder.context < tokens < embedder.context + 10
    assert embedder.embed([[1] * embedder.context * 2], cut=True)[1] == embedder.context


@pytest.mark.parametrize("texts", [[], [""], ["a", ""], [[]]])
def test_nothing_has_no_vector(embedder: Embedder, texts: list[Any]) -> None:
    with pytest.raises(UsageError, match="empty"):
        embedder.embed(texts)


@pytest.mark.parametrize("wrong", [[-1], [10**6]])
def test_a_number_that_is_no_token(embedder: Embedder, wrong: list[int]) -> None:
    with pytest.raises((UsageError, RequestRefused), match=r"(?i)token"):
        embedder.embed([wrong])


def test_other_folders_give_no_vectors(vectors: tuple[Path, Path], tmp_path: Path) -> None:
    assert load.gives_vectors(vectors[0]) and load.gives_vectors(vectors[1])
    mean = retrieval.pooled_otherwise(vectors[0], tmp_path / "mean", {"pooling_mode_mean_tokens": True})
    with pytest.raises(ModelError, match="from the last token"):
        load.embedder(weights(mean))
    (mean / "modules.json").unlink()
    assert not load.gives_vectors(mean)
    with pytest.raises(UsageError, match="no embeddings"):
        load.embedder(weights(mean))


def test_an_embedding_model_is_not_asked_to_write(vectors: tuple[Path, Path]) -> None:
    for path in vectors:
        with pytest.raises(UsageError, match="/v1/embeddings"):
            load.load(str(path))


DOCUMENTS = ["d", "about a cat\nor two", "an e"]


@pytest.fixture(scope="module")
def rankers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    yes, no = (3, 7)  # any two tokens: the small tokenizer has no such words
    return retrieval.reranker(tmp_path_factory.mktemp("ranker"), {"yes": yes, "no": no})


@pytest.fixture(scope="module")
def scores(rankers: tuple[Path, Path, Path]) -> dict[str, list[float]]:
    """The script of Qwen3-Reranker's card, with the words in the tokens that the engine finds for them, and
    with those of the head."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(rankers[0])
    model = AutoModelForCausalLM.from_pretrained(rankers[0], dtype=torch.float32).eval()
    before = tokenizer.encode(rerank._BEFORE, add_special_tokens=False)
    after = tokenizer.encode(rerank._AFTER, add_special_tokens=False)

    def scored(yes: int, no: int) -> list[float]:
        found = []
        for document in DOCUMENTS:
            said = f"<Instruct>: {rerank.INSTRUCTION}\n<Query>: cats\n<Document>: {document}"
            ids = [*before, *tokenizer(said, add_special_tokens=False)["input_ids"], *after]
            with torch.inference_mode():
                logits = model(torch.tensor([ids])).logits[0, -1]
            both = torch.stack([logits[no], logits[yes]]).log_softmax(0)
            found.append(float(both[1].exp()))
        return found

    first = [tokenizer.encode(word, add_special_tokens=False)[0] for word in ("yes", "no")]
    return {"words": scored(*first), "head": scored(3, 7)}


@pytest.mark.parametrize("which", [0, 1], ids=["transformers", "llamacpp"])
def test_relevance_is_that_of_the_card(rankers: Any, scores: Any, which: int) -> None:
    dtype = {} if which else {"dtype": "fp32"}
    with load.load(str(rankers[which]), context=1024, **dtype) as engine:
        prompts = [rerank.prompt(rerank.INSTRUCTION, "cats", document) for document in DOCUMENTS]
        found = [rerank.relevance(engine, prompt)[0] for prompt in prompts]

    assert near(found, scores["words"])
    assert len({round(score, 4) for score in found}) == len(DOCUMENTS)


def test_a_file_with_a_head_ranks_by_it(rankers: Any, scores: Any) -> None:
    assert load.ranks(rankers[2]) and not load.ranks(rankers[1]) and not load.ranks(rankers[0])
    ranker = load.embedder(weights(rankers[2]))
    try:
        found, tokens = ranker.rerank("cats", DOCUMENTS)
        assert near(found, scores["head"])
        assert tokens > 3 * 50
        with pytest.raises(ContextFull):
            ranker.rerank("cats", ["long " * ranker.context])
    finally:
        ranker.close()
    with pytest.raises(UsageError, match="/v1/rerank"):
        load.load(str(rankers[2]))


def test_a_signal_waits_until_an_embedder_has_loaded(
    vectors: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Raised at once it would tear down a server that has just begun."""
    import signal

    from qwen_cli.engines.llamacpp.embedding import Embedder as InLlamaCpp

    heard: list[str] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append("signal"))

    def server(params: Any) -> None:
        signal.raise_signal(signal.SIGTERM)
        heard.append("loaded")
        raise RuntimeError("no")

    monkeypatch.setattr("xllamacpp.Server", server)
    try:
        with pytest.raises(EngineError, match="cannot load"):
            InLlamaCpp(weights(vectors[1]))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard[0] == "loaded"
