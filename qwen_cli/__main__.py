"""`python -m qwen_cli` is `qwen`. Ctrl-C ends it from the first line on, while the commands are imported."""

import os
import signal
from types import FrameType


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)


if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _end)

from qwen_cli.commands.main import main  # noqa: E402

if __name__ == "__main__":
    main()
