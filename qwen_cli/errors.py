"""The one exception tree. Raised where a fault is known, shown in one place (`commands/main.py`)."""

from __future__ import annotations


class QwenError(Exception):
    """A fault that a person can act on.

    `message` names what is wrong and the value seen; `hint` says what to do next. Both are one line.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}. {self.hint[0].upper()}{self.hint[1:]}" if self.hint else self.message


class UsageError(QwenError):
    """What was asked for makes no sense: an option out of range, a file that is not there."""

    exit_code = 2


class ModelError(QwenError):
    """A model reference that names nothing, or weights that cannot be used."""


class DownloadError(ModelError):
    """Weights could not be fetched whole."""


class EngineError(QwenError):
    """An engine could not load or failed while it was generating."""


class ContextFull(EngineError):
    """The prompt does not fit the context window. `needed` and `limit` are in tokens."""

    def __init__(self, needed: int, limit: int) -> None:
        super().__init__(
            f"the prompt needs {needed:,} tokens but the context holds {limit:,}",
            "shorten it or raise `context`",
        )
        self.needed = needed
        self.limit = limit


class RequestRefused(EngineError):
    """An engine cannot do what is asked of it, such as keep to a schema that it cannot compile."""


class SchemaUnmet(EngineError):
    """An answer that does not satisfy the JSON schema that was asked for, whatever was tried."""


class EndpointError(EngineError):
    """A remote server could not be reached, refused the key, or refused the request."""


class SessionError(QwenError):
    """A saved conversation that cannot be read or written."""


class LogError(QwenError):
    """The log of questions cannot be read or written."""


class ToolError(QwenError):
    """A tool file or an MCP server that cannot be used."""


class SandboxError(QwenError):
    """Code cannot be contained on this machine, or what contains it has failed."""
