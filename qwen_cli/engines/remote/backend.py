"""Servers as a back end: the model is where `endpoint` says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qwen_cli.engines.core.base import Engine
from qwen_cli.engines.core.options import LLAMACPP_ONLY, TRANSFORMERS_ONLY, Hooks, LoadOptions
from qwen_cli.errors import UsageError

if TYPE_CHECKING:
    from qwen_cli.models.hub.resolve import Format, Weights


class RemoteBackEnd:
    """See `backend.BackEnd`."""

    name = "remote"
    format: Format | None = None

    def accepts(self, options: LoadOptions) -> bool:
        return options.endpoint is not None

    def load(self, weights: Weights | None, options: LoadOptions, hooks: Hooks) -> Engine:
        if not options.endpoint:
            raise UsageError("the remote engine needs an address", "give its `endpoint`")
        if options.draft != "off":
            options.refuse(("draft",), "needs a local engine", "start the server with it")
        local = ("rope_scaling", "dca_chunk", *LLAMACPP_ONLY)
        options.refuse(local, "needs a local engine", "start the server with it")
        options.refuse(("adapters",), "needs a local engine", "load the adapter on the server")
        how = ("quant", "merge", *TRANSFORMERS_ONLY)
        options.refuse(how, "needs a local engine", "load the model so on the server")
        from qwen_cli.engines.remote.engine import Remote

        return Remote(
            options.endpoint,
            model=options.model,
            api_key=options.api_key,
            headers=options.headers,
            notice=hooks.notice,
            vision=options.vision,
        )
