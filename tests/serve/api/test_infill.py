"""`/infill` as llama.vim and llama.vscode ask it (their requests, field by field)."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from served import Server

# llama.vim, autoload/llama.vim, `llama#fim` and `s:ring_update`.
FIELDS = [
    "content",
    "timings/prompt_n",
    "timings/prompt_ms",
    "timings/prompt_per_token_ms",
    "timings/prompt_per_second",
    "timings/predicted_n",
    "timings/predicted_ms",
    "timings/predicted_per_token_ms",
    "timings/predicted_per_second",
    "truncated",
    "tokens_cached",
]
RING = [
    {
        "text": "def perimeter(width, height):\n    return 2 * (width + height)\n",
        "time": [1, 2],
        "filename": "a.py",
    }
]
TYPING: dict[str, Any] = {
    "input_prefix": "def area(width, height):\n",
    "input_suffix": "\n\n\nprint(area(2, 3))\n",
    "input_extra": RING,
    "prompt": "    return wid",
    "n_predict": 24,
    "n_indent": 4,
    "top_k": 40,
    "top_p": 0.99,
    "stream": False,
    "samplers": ["top_k", "top_p", "infill"],
    "cache_prompt": True,
    "t_max_prompt_ms": 500,
    "t_max_predict_ms": 10_000,
}


def ask(server: Server, **changed: Any) -> dict[str, Any]:
    answer = httpx.post(
        f"{server.url}/infill", json={**TYPING, **changed}, headers=server.headers, timeout=120
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_the_fields_that_llama_vim_asks_for_and_no_others(server: Server) -> None:
    answer = ask(server, response_fields=FIELDS)

    assert set(answer) == set(FIELDS)
    assert answer["content"].rstrip("\n").replace(" ", "") == "th*height"  # the word is gone on with
    assert answer["truncated"] is False
    assert answer["tokens_cached"] >= answer["timings/prompt_n"] > 0


def test_the_whole_answer_has_what_llama_vscode_reads(server: Server) -> None:
    answer = ask(server)

    assert {"content", "generation_settings", "tokens_cached", "truncated", "timings"} <= set(answer)
    assert {
        "prompt_n",
        "prompt_ms",
        "prompt_per_second",
        "predicted_n",
        "predicted_ms",
        "predicted_per_second",
    } <= set(answer["timings"])
    assert answer["stop"] is True
    assert "a.py" in answer["prompt"]


def test_warming_up_generates_nothing_and_leaves_the_context_in_the_cache(server: Server) -> None:
    ring = [
        {"text": f"def helper_{i}(value):\n    return value * {i}\n", "time": [1, 2], "filename": "b.py"}
        for i in range(10)
    ]
    warm = {"input_prefix": "", "input_suffix": "", "prompt": "", "n_predict": 0, "samplers": []}

    nothing = ask(server, **warm, input_extra=ring, t_max_predict_ms=1, response_fields=[""])
    then = ask(server, input_extra=ring)

    assert nothing == {}
    assert then["timings"]["cache_n"] > 150


def test_a_line_that_is_indented_less_ends_the_answer(server: Server) -> None:
    asked = {
        "input_prefix": "def one():\n    return 1\n\n\ndef two():\n",
        "input_suffix": "",
        "input_extra": [],
        "prompt": "    ",
        "n_predict": 60,
    }
    answer = ask(server, **asked)
    free = ask(server, **asked, n_indent=0)

    assert all(line.startswith("    ") or not line for line in answer["content"].split("\n")[1:])
    assert answer["content"].strip() in free["content"]


def test_a_time_limit_holds_once_there_is_a_line(server: Server) -> None:
    answer = ask(
        server,
        input_prefix="def one():\n    return 1\n\n\ndef two():\n    return 2\n\n\ndef three():\n",
        input_suffix="",
        prompt="",
        n_predict=200,
        n_indent=0,
        t_max_predict_ms=1,
    )

    assert answer["content"].count("\n") >= 1
    assert answer["tokens_predicted"] < 60


def test_a_stream_is_in_parts_that_add_up(server: Server) -> None:
    import json

    with httpx.stream(
        "POST", f"{server.url}/infill", json={**TYPING, "stream": True}, headers=server.headers, timeout=120
    ) as answer:
        parts = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")]

    assert "".join(part["content"] for part in parts) == ask(server)["content"]
    assert [part["stop"] for part in parts] == [False] * (len(parts) - 1) + [True]


@pytest.mark.parametrize("bad", [{"input_prefix": 5}, {"n_predict": -7}, {"input_extra": "x"}])
def test_a_bad_request(server: Server, bad: dict[str, Any]) -> None:
    answer = httpx.post(f"{server.url}/infill", json={**TYPING, **bad}, headers=server.headers)

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == next(iter(bad))


def test_marks_in_what_is_shown_are_text(server: Server) -> None:
    def cost(mark: str) -> int:
        extra = [{"text": f"a = 1  # {mark}\n", "filename": f"{mark}.py"}]
        done = ask(
            server, input_prefix=f"# {mark}\n", input_suffix=f"\n# {mark}\n", input_extra=extra, n_predict=1
        )
        return int(done["tokens_evaluated"])

    assert cost("<|im_end|>" * 5) - cost("") >= 80
