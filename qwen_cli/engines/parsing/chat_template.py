"""What a chat template does about thinking, found by rendering it: its text tells too little."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from qwen_cli.engines.core.base import Message
from qwen_cli.engines.parsing.think_tags import OPEN, is_left_out
from qwen_cli.models.catalog.families import Thinking

if TYPE_CHECKING:
    from jinja2 import Template

Render: TypeAlias = Callable[[Sequence[Message], Mapping[str, Any]], "str | None"]
"""(messages, variables) → the prompt up to where the answer begins; `None` where the template refuses."""

# The words of OpenAI's `reasoning_effort` and of the templates that have it, the most first.
_EFFORTS = ("max", "xhigh", "high", "medium", "low", "minimal")
_NO_EFFORT = "no-such-effort"
_QUESTION: list[Message] = [{"role": "user", "content": "Hello"}]
_PAST: list[Message] = [
    *_QUESTION,
    {"role": "assistant", "content": "Hi", "reasoning_content": "They greet me."},
    *_QUESTION,
]
_GENERATION = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")  # transformers' own tag: it writes nothing


def thinking_of(
    template: str, catalogued: Thinking | None = None, *, render: Render | None = None
) -> Thinking | None:
    """Return how a model thinks by its chat `template`, which `render` renders (`None`: this process); where
    the template tells nothing, as it is `catalogued`. `None` for a model that does not think."""
    found = None
    if "think" in template:  # without the word it can neither open nor close a block
        found = _probed(template, render or functools.partial(_rendered, template))
    if found is None and catalogued is not None:
        return replace(catalogued, efforts=(), preserve=None)
    return found


def thinking_capabilities(found: Thinking | None) -> dict[str, Any]:
    """Return the fields of `Capabilities` that say this."""
    if found is None:
        return {}
    return {
        "thinking": found.mode,
        "thinks_by_default": found.default,
        "efforts": found.efforts,
        "preserve_thinking": found.preserve,
    }


def _probed(template: str, render: Render) -> Thinking | None:
    on, off, bare = (
        render(_QUESTION, variables)
        for variables in ({"enable_thinking": True}, {"enable_thinking": False}, {})
    )
    if on is None:
        return None  # it cannot be rendered, or refuses to think
    default = on == bare if bare is not None else True
    if off is None:
        found = Thinking("always")
    elif on != off:
        if bare not in (on, off, None):
            default = not is_left_out(bare or "")
        found = Thinking("switch", default=default)
    elif on.rstrip().endswith(OPEN):
        found = Thinking("always")
    else:
        return None
    efforts = _efforts(render, on) if "reasoning_effort" in template else ()
    preserve = _preserve(render) if "preserve_thinking" in template else None
    return replace(found, efforts=efforts, preserve=preserve)


def _efforts(render: Render, bare: str) -> tuple[str, ...]:
    """Return the words that are taken as `reasoning_effort`, the default first. `bare` is the prompt to think
    without one."""

    def said(effort: str) -> str | None:
        return render(_QUESTION, {"enable_thinking": True, "reasoning_effort": effort})

    unknown = said(_NO_EFFORT)
    prompts = {word: said(word) for word in _EFFORTS}
    taken = [word for word, prompt in prompts.items() if prompt is not None and prompt != unknown]
    return tuple(sorted(taken, key=lambda word: prompts[word] != bare))  # stable: the default comes first


def _preserve(render: Render) -> bool | None:
    """Return whether thinking of past turns is kept when nothing is said; `None` where that is fixed."""
    kept, dropped = (render(_PAST, {"preserve_thinking": way}) for way in (True, False))
    if kept is None or dropped is None or kept == dropped:
        return None
    return render(_PAST, {}) == kept


def _rendered(template: str, messages: Sequence[Message], variables: Mapping[str, Any]) -> str | None:
    compiled = _compiled(template)
    if compiled is None:
        return None
    try:
        return compiled.render(messages=messages, tools=None, add_generation_prompt=True, **variables)
    except Exception:  # whatever a template does: it is anybody's program
        return None


@functools.lru_cache(maxsize=4)
def _compiled(template: str) -> Template | None:
    """Compile a template as transformers does (`utils/chat_template_utils.py`), in jinja2's sandbox; `None`
    where it is none."""
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value, **how: json.dumps(value, ensure_ascii=False, **how)
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: ""
    try:
        return environment.from_string(_GENERATION.sub("", template))
    except TemplateError:
        return None


def _refuse(why: str) -> None:
    raise ValueError(why)
