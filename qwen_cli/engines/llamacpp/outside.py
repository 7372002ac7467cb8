"""The engine `llama-server`: the user's own build of llama.cpp, driven by the code of `LlamaCpp`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qwen_cli.engines.llamacpp import child
from qwen_cli.engines.llamacpp.engine import LlamaCpp

if TYPE_CHECKING:
    from qwen_cli.models.hub.resolve import Weights
    from qwen_cli.models.planning.llama_server import LlamaServer
    from qwen_cli.models.progress import Progress


class OutsideLlamaCpp(LlamaCpp):
    """A GGUF model, loaded by `program`. See `LlamaCpp`; `progress` is told how much of it is in memory."""

    name = "llama-server"
    inside = False

    def __init__(
        self, weights: Weights, *, program: LlamaServer, progress: Progress | None = None, **options: Any
    ) -> None:
        self._program, self._progress = program, progress
        super().__init__(weights, **options)

    def _on_gpu(self) -> bool:
        return bool(self._program.gpus)

    def _version(self) -> str:
        return f"llama-server {self._program.build} {self._program.stamp}"

    def _started(self, params: Any, weights: Weights, key: str) -> Any:
        words = child.arguments(params, self._program)
        return child.Child(
            self._program.path,
            words,
            key=key,
            label=weights.label,
            size=weights.size,
            progress=self._progress,
        )

    def _abandon(self, server: Any) -> None:
        server.close()
