"""A session for other eyes."""

from __future__ import annotations

import json

import pytest

from qwen_cli.tasks.chat import export
from qwen_cli.tasks.chat.sessions import Session


@pytest.fixture
def session() -> Session:
    return Session(
        "sums",
        model="qwen3:8b",
        engine="llamacpp",
        system="Be brief.",
        settings={"sampling": {"temperature": 0.6, "stop": ["END"]}, "thinking": True, "overflow": "slide"},
        created="2026-01-02T03:04:05+00:00",
        updated="2026-01-02T03:05:00+00:00",
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "2 + 1?"}, {"type": "image_url"}]},
            {
                "role": "assistant",
                "content": "",
                "thinking": "I add </details> them",
                "tool_calls": [
                    {
                        "id": "c",
                        "type": "function",
                        "function": {"name": "add", "arguments": '{"a": 2, "b": 1}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "c", "name": "add", "content": "3 ```", "ok": True},
            {"role": "assistant", "content": "It is \x1b[31m3", "cut": True},
        ],
    )


def test_what_nobody_sets_is_no_setting(session: Session) -> None:
    session.settings["sampling"] = {"start": "", "seed": 0, "top_p": None, "stop": [], "unknown": 1}
    assert "- Sampling: seed 0\n" in export.to_markdown(session)
    session.settings["sampling"] = {"start": ""}
    assert "Sampling" not in export.to_markdown(session)


def test_markdown_shows_settings_turns_thinking_and_tools(session: Session) -> None:
    assert (
        export.to_markdown(session)
        == """# sums

- Model: qwen3:8b (llamacpp)
- Started: 2026-01-02T03:04:05+00:00
- Last turn: 2026-01-02T03:05:00+00:00
- Sampling: temperature 0.6, stop "END"
- Thinking: on
- Overflow: slide

## System

Be brief.

## User

2 + 1?

*(image)*

## Assistant

<details>
<summary>Thinking</summary>

I add &lt;/details&gt; them

</details>

Calls `add`:

```json
{"a": 2, "b": 1}
```

Result of `add`:

````
3 ```
````

It is [31m3

*(the answer was cut here)*
"""
    )


def test_json_holds_everything(session: Session) -> None:
    content = json.loads(export.to_json(session))

    assert Session(**content) == session
    assert "stamp" not in content
