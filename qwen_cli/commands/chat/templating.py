"""`qwen chat -t NAME`: a template gives the question, and what goes with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qwen_cli.commands.shared import options
from qwen_cli.errors import UsageError
from qwen_cli.tasks.chat import attachments, templates

if TYPE_CHECKING:
    from qwen_cli.commands.chat.question import Question


@dataclass(frozen=True)
class ChatSampling(options.SamplingOptions):
    """How tokens are drawn, where `-t` is for templates."""

    temperature: Annotated[
        float | None,
        typer.Option(
            "--temperature",
            help="Randomness of the answer; 0 always takes the likeliest token.",
            rich_help_panel=options.SAMPLING,
        ),
    ] = None


@dataclass(frozen=True)
class Told:
    """What the flags of a template say: which one, with which values for its variables."""

    template: templates.Template | None = None
    values: dict[str, str] = field(default_factory=dict)

    @property
    def speaks_alone(self) -> bool:
        """Return whether it asks something without being given anything."""
        one = self.template
        return one is not None and one.prompt is not None and not one.needs_input

    def asked(self, question: Question | None) -> tuple[Question | None, str | None]:
        """Return the question that the template makes of `question`, and the system prompt. Raises
        `UsageError`."""
        from qwen_cli.commands.chat.question import Question
        from qwen_cli.tasks.chat.gathering import Gathered

        if self.template is None:
            return question, None
        given = None
        if question is not None and (question.text.strip() or question.found.texts):
            texts = question.found.texts
            given = attachments.as_prompt(texts, question.text) if texts else question.text
        filled = templates.fill(self.template, self.values, given)
        if filled.prompt is None or self.template.prompt is None:
            return question, filled.system
        if question is None:
            return Question(filled.prompt, Gathered()), filled.system
        return replace(question, text=filled.prompt, found=replace(question.found, texts=())), filled.system

    def loading(self, given: options.Loading) -> options.Loading:
        """Return `given` with the template's model, unless another is asked for."""
        model = self.template.settings.get("model") if self.template else None
        return replace(given, model=model) if model and given.model is None else given

    @property
    def sampling(self) -> dict[str, Any]:
        """Return the settings that the template has instead of a person's own."""
        own = self.template.settings if self.template else {}
        return {name: value for name, value in own.items() if name != "model"}


def read(
    given: Sequence[str], parameters: Sequence[str], sampling: ChatSampling
) -> tuple[Told, ChatSampling]:
    """Return the template that `-t` names and the sampling: `-t 0.2` is a temperature, as in other commands.
    Raises `UsageError`."""
    numbers, names = [], []
    for word in given:
        try:
            numbers.append(float(word))
        except ValueError:
            names.append(word)
    if len(names) > 1:
        raise UsageError(f"-t names {len(names)} templates: {', '.join(names)}", "name one")
    if len(numbers) + (sampling.temperature is not None) > 1:
        raise UsageError("the temperature is given twice", "give it once")
    if numbers:
        sampling = replace(sampling, temperature=numbers[0])
    if not names:
        if parameters:
            raise UsageError("-p is for the variables of a template", "name one with -t")
        return Told(), sampling
    return Told(templates.load(names[0]), _values(parameters)), sampling


def _values(parameters: Sequence[str]) -> dict[str, str]:
    values: dict[str, str] = {}
    for word in parameters:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise UsageError(f"-p wants NAME=VALUE, got {word!r}")
        if name in values:
            raise UsageError(f"-p gives {name} twice", "give it once")
        values[name] = value
    return values
