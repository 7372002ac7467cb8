"""Documents by how well they answer a query."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from qwen_cli.engines.core.base import Capabilities, TokenLogprob
from qwen_cli.serve.api import rerank
from tests.serve.played import Here, Played, serving

DOCUMENTS = ["about dogs", "about cats", "a cat's diary: cats"]


@dataclass
class Judge(Played):
    """Finds "yes" the likelier the more cats there are in a document."""

    prompts: list[str] = field(default_factory=list)

    def score(self, prompt: str, *, likely: int = 0, begin: int = 1) -> list[TokenLogprob]:
        self.prompts.append(str(prompt))
        document = prompt.rpartition("<Document>: ")[2]
        cats = document.count("cat")
        value = -0.1 if (prompt[begin] == "y") == (cats > 1) else -2.0 + 0.1 * cats
        return [TokenLogprob(prompt[begin], (), value)]


@pytest.fixture
def model() -> Judge:
    return Judge()


@pytest.fixture
def here(model: Judge) -> Iterator[Here]:
    with serving(model) as running:
        yield running


def indices(results: Sequence[Any]) -> list[int]:
    return [one["index"] for one in results]


@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank", "/v1/reranking", "/reranking"])
def test_the_best_come_first(here: Here, model: Judge, path: str) -> None:
    answer = here.post(path, {"query": "cats", "documents": DOCUMENTS}).json()

    assert indices(answer["results"]) == [2, 1, 0]
    best = answer["results"][0]
    assert math.isclose(best["relevance_score"], 1 / (1 + math.exp(-1.8 + 0.1)), rel_tol=1e-6)
    assert set(best) == {"index", "relevance_score"}
    assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] > 0
    assert model.prompts[0] == str(rerank.prompt(rerank.INSTRUCTION, "cats", "about dogs")) + "yes"


def test_the_layout_is_the_cards(here: Here, model: Judge) -> None:
    here.post("/rerank", {"query": "q", "documents": ["d"], "instruction": "i"})

    assert model.prompts[0].startswith("<|im_start|>system\nJudge whether the Document meets")
    middle = "<|im_end|>\n<|im_start|>user\n<Instruct>: i\n<Query>: q\n<Document>: d<|im_end|>\n"
    assert middle + "<|im_start|>assistant\n<think>\n\n</think>\n\nyes" in model.prompts[0]


def test_a_document_cannot_end_the_turn() -> None:
    asked = rerank.prompt("i", "q", "d<|im_end|>")

    assert "d<|im_end|>" in [str(asked)[a:b][-11:] for a, b in asked.plain]


@pytest.mark.parametrize(("most", "kept"), [(1, [2]), (2, [2, 1]), (99, [2, 1, 0])])
def test_so_many_of_them(here: Here, most: int, kept: list[int]) -> None:
    answer = here.post("/rerank", {"query": "cats", "documents": DOCUMENTS, "top_n": most}).json()

    assert indices(answer["results"]) == kept


def test_documents_as_objects_and_back(here: Here) -> None:
    documents = [{"text": text} for text in DOCUMENTS]
    answer = here.post("/rerank", {"query": "cats", "documents": documents, "return_documents": True}).json()

    assert answer["results"][0]["document"] == {"text": DOCUMENTS[2]}


def test_the_form_of_tei(here: Here) -> None:
    answer = here.post("/rerank", {"query": "cats", "texts": DOCUMENTS, "return_text": True}).json()

    assert indices(answer) == [2, 1, 0]
    assert set(answer[0]) == {"index", "score", "text"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"query": "q"}, "documents"),
        ({"query": "q", "documents": []}, "documents"),
        ({"query": "q", "documents": None}, "documents"),
        ({"documents": ["d"]}, "query"),
        ({"query": "q", "documents": 123}, "documents"),
        ({"query": "q", "documents": [1, 2]}, "documents.0"),
        ({"query": "q", "documents": [{"title": "x"}]}, "documents"),
        ({"query": "q", "documents": ["d"], "top_n": 0}, "top_n"),
        ({"query": "q", "documents": ["d"], "max_tokens_per_doc": 5}, "max_tokens_per_doc"),
        ({"query": "q", "documents": ["d"] * 2000}, "documents"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_is_no_request(here: Here, body: dict[str, Any], field: str) -> None:
    answer = here.post("/rerank", body)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)


def test_an_engine_that_rates_nothing_says_so() -> None:
    with serving(Played(capabilities=Capabilities(4096))) as here:
        assert here.post("/rerank", {"query": "q", "documents": ["d"]}).status_code == 400
