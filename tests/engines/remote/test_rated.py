"""How likely a prompt is, where a server echoes it."""

from __future__ import annotations

from openai.types import Completion

from qwen_cli.engines.remote.responses import rated


def echoed(logprobs: object) -> Completion:
    choice = {"index": 0, "finish_reason": "length", "text": "The sky is blue and", "logprobs": logprobs}
    whole = {"id": "1", "object": "text_completion", "created": 0, "model": "m", "choices": [choice]}
    return Completion.construct(**whole)  # as the client makes it: what a server sends is not checked


def test_the_tokens_of_the_prompt_are_rated_from_the_second_on() -> None:
    answer = echoed(
        {
            "tokens": ["The", " sky", " is", " blue", " and"],
            "token_logprobs": [None, -2.0, -0.5, -0.1, -3.0],
            "text_offset": [0, 3, 7, 10, 15],
        }
    )
    found = rated(answer, "The sky is blue")
    assert [(one.token, one.logprob) for one in found] == [(" sky", -2.0), (" is", -0.5), (" blue", -0.1)]


def test_a_server_that_echoes_nothing_has_rated_nothing() -> None:
    assert rated(echoed(None), "The sky") == []
    # Only what it wrote itself.
    own = {"tokens": [" and"], "token_logprobs": [-3.0], "text_offset": [15]}
    assert rated(echoed(own), "The sky is blue") == []
