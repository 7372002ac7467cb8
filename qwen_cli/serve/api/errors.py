"""Errors as OpenAI's API has them: `{"error": {"message", "type", "param", "code"}}` with a status."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response

from qwen_cli.errors import ContextFull, ModelError, QwenError, RequestRefused, SchemaUnmet, UsageError
from qwen_cli.serve import sparing
from qwen_cli.serve.scheduling.lanes import Busy, Gone, Stopping


class Refused(Exception):
    """A request that is answered with an error. `param` is the field that is at fault."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code


CONTEXT_FULL = "context_length_exceeded"
_ANTHROPIC = "/messages"
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    501: "not_supported_error",
}


def body(
    status: int, message: str, *, param: str | None = None, code: str | None = None
) -> dict[str, dict[str, object]]:
    """Return the object that tells of an error."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


_ANTHROPIC_TYPES = {
    **_TYPES,
    413: "request_too_large",
    503: "overloaded_error",
}


def anthropic_body(fault: Refused) -> dict[str, object]:
    """Return the object that tells of an error at `/v1/messages`."""
    other = "invalid_request_error" if fault.status < 500 else "api_error"
    kind = _ANTHROPIC_TYPES.get(fault.status, other)
    # Claude Code looks for these words, and sums the conversation up then.
    long = "prompt is too long: " if fault.code == CONTEXT_FULL else ""
    return {"type": "error", "error": {"type": kind, "message": long + fault.message}}


def response(fault: Exception, path: str = "") -> Response:
    """Build the answer to a request at `path` that ended in `fault`."""
    refused = of(fault)
    headers = {"Retry-After": str(fault.seconds)} if isinstance(fault, Busy) else {}
    if isinstance(fault, Stopping):
        headers = {"Retry-After": "5"}
    if path.removeprefix("/v1").startswith(_ANTHROPIC):
        return JSONResponse(anthropic_body(refused), refused.status, headers)
    said = body(refused.status, refused.message, param=refused.param, code=refused.code)
    if isinstance(fault, ContextFull):  # clients of llama.cpp read these, those of OpenAI the code
        numbers = {"n_prompt_tokens": fault.needed, "n_ctx": fault.limit}
        said["error"] |= {"type": "exceed_context_size_error", **numbers}
    return JSONResponse(said, refused.status, headers)


def of(fault: Exception) -> Refused:
    """Return what a client is told of `fault`. What was not foreseen goes to the log, and no further."""
    if isinstance(fault, Refused):
        return fault
    if isinstance(fault, ContextFull):
        return Refused(400, str(fault), code=CONTEXT_FULL)
    if isinstance(fault, ModelError):
        return Refused(404, str(fault), param="model", code="model_not_found")
    if isinstance(fault, Busy):
        return Refused(429, str(fault), code="queue_full")
    if isinstance(fault, Stopping):
        return Refused(503, str(fault), code="stopping")
    if isinstance(fault, Gone):
        return Refused(499, str(fault))  # nginx's number for a client that has left; nobody reads it
    if isinstance(fault, SchemaUnmet):
        return Refused(422, str(fault), param="response_format", code="schema_not_satisfied")
    if isinstance(fault, (UsageError, RequestRefused)):
        return Refused(400, str(fault), param="response_format" if "JSON schema" in str(fault) else None)
    if isinstance(fault, QwenError):
        return Refused(500, str(fault))
    sparing.print_fault(fault)
    return Refused(500, "the server failed; its log says why")
