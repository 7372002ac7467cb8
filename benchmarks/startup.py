"""`qwen --help` and `qwen --version` against importing the libraries they stand on.

python benchmarks/startup.py
"""

import sys

from processes import QWEN, alternate, median, report

ROUNDS = 15


def main() -> None:
    peer = [sys.executable, "-c", "import typer, rich; print(1)"]
    for flag in ("--help", "--version"):
        ours, theirs = alternate([*QWEN, flag], peer, ROUNDS)
        what = f'`qwen {flag}` against `python -c "import typer, rich"`'
        report(what, median([r.last for r in ours]), median([r.last for r in theirs]), "s", "≤ 2.5")


if __name__ == "__main__":
    main()
