"""`Sandbox`: where foreign code is run, as its caller sees it."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from types import TracebackType

from qwen_cli.sandbox import process
from qwen_cli.sandbox.result import Limits, Outcome

_MOST_SOURCE = 1_000_000  # bytes; a program a model writes has thousands

_WEAKER = (
    "the sandbox has no namespaces here: code can read and change no files and send nothing, but it sees "
    "which files and processes there are (`qwen sandbox check` says what is missing)"
)


@functools.cache
def _say_once(remark: str) -> None:
    sys.stderr.write(f"qwen: {remark}\n")


class Sandbox:
    """Runs blocks of one solution in one contained process, names kept from run to run.

    After a run that had to be ended (`timeout`, `killed`) the names are lost and the next run begins afresh
    (`Outcome.fresh`). Not for several threads at once; different sandboxes are independent. With `contained`
    false nothing but the limits holds the code: it has all the rights of this user.
    """

    def __init__(
        self, limits: Limits | None = None, *, contained: bool = True, _without: Collection[str] = ()
    ) -> None:
        self.limits = limits or Limits()
        self.contained = contained
        self._without = sorted(_without)
        self._cell: process.ContainedProcess | None = None

    def run(self, code: str, *, on_output: Callable[[bytes], None] | None = None) -> Outcome:
        """Run one block. `on_output` gets what it writes, as it writes it and before it is cut.

        Raises `SandboxError` where the machine cannot contain code; whatever the code does is an `Outcome`.
        """
        source = code.encode(errors="replace")
        if len(source) > _MOST_SOURCE:
            return Outcome(
                "refused", error=f"the program has {len(source):,} bytes, the most is {_MOST_SOURCE:,}"
            )
        fresh = self._cell is None
        if self._cell is None:
            self._cell = self._start(everything="matplotlib" in code)
        start = time.monotonic()
        try:
            outcome = process.exchange(self._cell, source, self.limits, on_output)
        finally:
            if self._cell.gone:
                self._cell = None
        return replace(outcome, seconds=time.monotonic() - start, fresh=fresh)

    def open(self) -> Sandbox:
        """Start the contained process ahead of the first run. Raises `SandboxError`."""
        if self._cell is None:
            self._cell = self._start(everything=False)
        return self

    def close(self) -> None:
        """End the contained process and all it has started; returns when they are gone."""
        if self._cell is not None:
            process.end(self._cell)
            self._cell = None

    def _start(self, *, everything: bool) -> process.ContainedProcess:
        if not self.contained:
            return process.plain(self.limits)
        if sys.platform == "darwin":
            return process.wrapped(self.limits)
        started = process.start(self.limits, self._without, everything=everything)
        if not started.layers["namespaces"]:
            _say_once(_WEAKER)
        return started

    @property
    def layers(self) -> dict[str, int | bool]:
        """Return the layers round the running process: `namespaces`, `landlock` (ABI), `seccomp`."""
        self.open()
        assert self._cell is not None
        return self._cell.layers

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
