"""The sandbox against a fresh interpreter: `print(1+1)`, importing sympy, opening and closing.

    python benchmarks/sandbox.py

Medians. The bar of the first line is 15 ms, of the second 50 ms.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

from processes import median

from qwen_cli.sandbox import Sandbox, warm

RUNS = 51


def main() -> None:
    warm()
    started = time.perf_counter()
    box = Sandbox().open()
    print(f"first sandbox, template still importing: {1000 * (time.perf_counter() - started):.0f} ms")
    Sandbox().run("import matplotlib")  # the template has everything from here on
    box.run("pass")
    print(f"print(1+1), warm sandbox:   {timed(lambda: box.run('print(1+1)'), RUNS):8.2f} ms (bar ≤ 15)")
    box.close()
    print(f"import sympy, new sandbox:  {median([import_sympy() for _ in range(RUNS)]):8.2f} ms (bar ≤ 50)")
    print(f"open, run and close:        {timed(whole, RUNS):8.2f} ms")
    print(f"fresh python with sympy:    {timed(fresh, 5):8.2f} ms")


def import_sympy() -> float:
    with Sandbox().open() as box:
        started = time.perf_counter()
        outcome = box.run("import sympy\nprint(sympy.Integer(1) + 1)")
        assert outcome.output == "2\n", outcome
        return 1000 * (time.perf_counter() - started)


def whole() -> None:
    with Sandbox() as box:
        assert box.run("print(1+1)").output == "2\n"


def fresh() -> None:
    subprocess.run([sys.executable, "-c", "import sympy; print(1+1)"], check=True, capture_output=True)


def timed(call: Callable[[], object], runs: int) -> float:
    """Median milliseconds."""
    seconds = []
    for _ in range(runs):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return 1000 * median(seconds)


if __name__ == "__main__":
    main()
