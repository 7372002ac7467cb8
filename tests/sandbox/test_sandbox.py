"""What a caller of `Sandbox` sees: state, values, errors, limits, and the next run after each."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qwen_cli.errors import SandboxError
from qwen_cli.sandbox import Limits, Sandbox, forkserver_client, warm


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


def test_names_stay_from_run_to_run() -> None:
    with Sandbox() as sandbox:
        assert sandbox.run("import sympy; x = sympy.Symbol('x')").fresh
        again = sandbox.run("sympy.solve(x**2 - 2)")
    assert (again.status, again.value, again.fresh) == ("ok", "[-sqrt(2), sqrt(2)]", False)


@pytest.mark.parametrize(
    ("code", "value", "output"),
    [
        ("1 + 1", "2", ""),
        ("print('a'); 'b'", "'b'", "a\n"),
        ("x = 5", None, ""),
        ("None", None, ""),
        ("", None, ""),
        ("# only a remark", None, ""),
        ("if True:\n    7", None, ""),
        ("__name__", "'__main__'", ""),
        ("'\\ud800'", "'\\ud800'", ""),
    ],
)
def test_a_last_bare_expression_is_the_value(
    shared: Sandbox, code: str, value: str | None, output: str
) -> None:
    outcome = shared.run(code)
    assert (outcome.status, outcome.value, outcome.output) == ("ok", value, output)


def test_both_streams_come_in_order(shared: Sandbox) -> None:
    code = "import sys\nfor n in range(3):\n    print(n, end=' ')\n    print('e', file=sys.stderr)"
    assert shared.run(code).output == "0 e\n1 e\n2 e\n"


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def f(:", "SyntaxError: invalid syntax"),
        ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("input()", "EOFError: EOF when reading a line"),
        ("'\\0' + 1", 'TypeError: can only concatenate str (not "int") to str'),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    ],
)
def test_an_error_is_the_last_line_of_its_traceback(shared: Sandbox, code: str, error: str) -> None:
    outcome = shared.run(code)
    assert (outcome.status, outcome.error) == ("error", error)
    assert shared.run("1").value == "1"


def test_a_traceback_shows_the_code_and_nothing_of_the_runner(shared: Sandbox) -> None:
    outcome = shared.run("def inner():\n    return [][1]\n\ninner()")
    assert outcome.traceback is not None
    assert "return [][1]" in outcome.traceback
    assert "runner" not in outcome.traceback


def test_long_output_keeps_its_ends() -> None:
    with Sandbox(Limits(output_characters=400)) as sandbox:
        output = sandbox.run("print('start'); print('é' * 1_000_000); print('end')").output
    assert output.startswith("start\n")
    assert output.endswith("end\n")
    assert "left out" in output
    assert len(output) < 500


def test_output_arrives_while_the_code_runs() -> None:
    pieces: list[tuple[float, bytes]] = []
    with Sandbox() as sandbox:
        sandbox.run(
            "import time\nprint('a')\ntime.sleep(0.3)\nprint('b')",
            on_output=lambda data: pieces.append((time.monotonic(), data)),
        )
    assert b"".join(data for _, data in pieces) == b"a\nb\n"
    assert pieces[-1][0] - pieces[0][0] > 0.2


def test_a_timeout_keeps_the_output_and_loses_the_state() -> None:
    with Sandbox(Limits(wall_seconds=0.5)) as sandbox:
        sandbox.run("kept = 1")
        late = sandbox.run("print('so far', end='')\nwhile True: pass")
        after = sandbox.run("kept")
    assert (late.status, late.output) == ("timeout", "so far")
    assert 0.5 <= late.seconds < 5
    assert (after.fresh, after.error) == (True, "NameError: name 'kept' is not defined")


def test_too_much_memory_is_an_error_that_can_be_reported() -> None:
    with Sandbox(Limits(memory_bytes=128 << 20)) as sandbox:
        outcome = sandbox.run("kept = 1\nblock = bytearray(1 << 30)")
        assert (outcome.status, outcome.error) == ("memory", "MemoryError")
        assert sandbox.run("kept").value == "1"


@pytest.mark.parametrize(
    ("code", "error", "where"),
    [
        ("x = 1\nx / 0", "ZeroDivisionError: division by zero", "line 2: x / 0"),
        ("def f():\n    return 1 / 0\n\nf()", "ZeroDivisionError: division by zero", "line 2: return 1 / 0"),
        ("a = 1\nb c = 2", "SyntaxError: invalid syntax", "line 2: b c = 2"),
        (
            "sheep = 20\nprint(4 * Sheep)",
            "NameError: name 'Sheep' is not defined. Did you mean: 'sheep'?",
            "line 2: print(4 * Sheep)",
        ),
        (
            "def f():\n    total = 3\n    return totl\nf()",
            "NameError: name 'totl' is not defined. Did you mean: 'total'?",
            "line 3: return totl",
        ),
        ("printt(3)", "NameError: name 'printt' is not defined. Did you mean: 'print'?", "line 1: printt(3)"),
        (
            "import math\nmath.sqr(2)",
            "AttributeError: module 'math' has no attribute 'sqr'. Did you mean: 'sqrt'?",
            "line 2: math.sqr(2)",
        ),
        ("nowhere_near", "NameError: name 'nowhere_near' is not defined", "line 1: nowhere_near"),
        ("raise SyntaxError('no')", "SyntaxError: no", "line 1: raise SyntaxError('no')"),
        ("class E(NameError):\n    name = 5\nraise E('x')", "E: x", "line 3: raise E('x')"),
    ],
)
def test_an_error_tells_its_line_and_the_name_that_was_meant(code: str, error: str, where: str) -> None:
    with Sandbox() as sandbox:
        outcome = sandbox.run(code)
    assert (outcome.error, outcome.where) == (error, where)


def test_a_crash_names_its_signal() -> None:
    with Sandbox() as sandbox:
        outcome = sandbox.run("import ctypes; ctypes.string_at(0)")
        assert (outcome.status, outcome.error) == ("killed", "killed: segmentation fault (signal 11)")
        assert sandbox.run("1").fresh


def test_leaving_by_force_gives_the_exit_code() -> None:
    with Sandbox() as sandbox:
        outcome = sandbox.run("import os; os._exit(9)")
    assert (outcome.status, outcome.exit_code) == ("killed", 9)


def test_an_enormous_program_is_refused(shared: Sandbox) -> None:
    assert shared.run("#" * 2_000_000).status == "refused"
    assert shared.run("'" + "x" * 900_000 + "'; 1").value == "1"


def test_background_processes_end_with_their_block() -> None:
    with Sandbox() as sandbox:
        sandbox.run("import os, time\nif os.fork() == 0:\n    time.sleep(60)")
        left = sandbox.run("os.waitpid(-1, os.WNOHANG)")
    assert left.error == "ChildProcessError: [Errno 10] No child processes"


@pytest.mark.parametrize("package", ["sympy", "numpy", "mpmath", "scipy.optimize"])
def test_mathematics_is_at_hand(package: str) -> None:
    with Sandbox() as sandbox:
        assert sandbox.run(f"import {package}").status == "ok"


def test_arithmetic_and_linear_algebra_give_what_they_should(shared: Sandbox) -> None:
    code = "import numpy, scipy.optimize as o\n"
    code += "round(o.brentq(lambda t: t * t - 2, 0, 2), 6), numpy.linalg.det(numpy.eye(3))"
    assert shared.run(code).value in ("(1.414214, np.float64(1.0))", "(1.414214, 1.0)")


def test_figures_come_back_as_pictures() -> None:
    pytest.importorskip("matplotlib")
    code = "import matplotlib.pyplot as plt\nplt.plot([1, 2]); plt.show()\nplt.plot([2, 1])"
    with Sandbox() as sandbox:
        outcome = sandbox.run(code)
    assert len(outcome.plots) == 2
    assert all(plot.startswith(b"\x89PNG") for plot in outcome.plots)
    assert outcome.output == ""


def test_sandboxes_run_side_by_side_and_know_nothing_of_each_other() -> None:
    found: list[str | None] = []

    def one(number: int) -> None:
        with Sandbox() as sandbox:
            sandbox.run(f"mine = {number}; open('file', 'w').write('{number}')")
            found.append(sandbox.run("import os; mine, open('file').read(), os.listdir('.')").value)

    threads = [threading.Thread(target=one, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, found)) == [f"({n}, '{n}', ['file'])" for n in range(4)]


def test_random_numbers_differ_between_sandboxes() -> None:
    drawn = set()
    for _ in range(2):
        with Sandbox() as sandbox:
            drawn.add(sandbox.run("import random, numpy; random.random(), numpy.random.rand()").value)
    assert len(drawn) == 2


def test_nothing_is_left_after_close() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    others = set(_children_of(forkserver_client.current().pid))
    for _ in range(3):
        sandbox = Sandbox().open()
        sandbox.run("1")
        sandbox.close()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
    deadline = time.monotonic() + 2  # the supervisor itself leaves a moment after what it watched
    while set(_children_of(forkserver_client.current().pid)) - others and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not set(_children_of(forkserver_client.current().pid)) - others


def test_the_template_comes_back_after_it_was_killed() -> None:
    warm()
    os.kill(forkserver_client.current().pid, signal.SIGKILL)
    time.sleep(0.1)
    with Sandbox() as sandbox:
        assert sandbox.run("1").value == "1"


def test_an_interrupted_run_ends_what_it_started() -> None:
    def interrupt(data: bytes) -> None:
        raise KeyboardInterrupt

    with Sandbox() as sandbox:
        with pytest.raises(KeyboardInterrupt):
            sandbox.run("print(1)\nwhile True: pass", on_output=interrupt)
        assert sandbox.run("1").fresh


@pytest.mark.parametrize("left", ["landlock", "seccomp"])
def test_one_layer_alone_is_refused(left: str) -> None:
    without = {"namespaces", "landlock", "seccomp"} - {left}
    with (
        Sandbox(_without=without) as sandbox,
        pytest.raises(SandboxError, match="neither namespaces nor") as fault,
    ):
        sandbox.run("print('must not run')")
    assert fault.value.hint


def test_other_systems_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "win32")
    with Sandbox() as sandbox, pytest.raises(SandboxError, match="not on win32") as fault:
        sandbox.run("1")
    assert "WSL 2" in (fault.value.hint or "")


def _children_of(pid: int) -> list[str]:
    # Those that have ended and wait to be collected do not count.
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [c for c in children if ") Z " not in Path(f"/proc/{c}/stat").read_text()]
