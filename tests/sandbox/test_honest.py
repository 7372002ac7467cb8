"""What honest programs do works: under all layers, and where there are no namespaces."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from qwen_cli.sandbox import Limits, Sandbox

PROGRAMS = {
    "numpy": "import numpy as np; a = np.random.rand(300, 300); np.linalg.svd(a @ a.T)[1].shape",
    "numpy threads": (
        "import numpy as np\nfrom concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(4) as pool:\n"
        "    sums = list(pool.map(lambda n: float(np.ones((n, n)).sum()), (100, 200, 300)))\nsums"
    ),
    "numpy files": "import numpy as np; np.save('a', np.eye(9)); np.load('a.npy', mmap_mode='r+').sum()",
    "scipy": (
        "import scipy.sparse.linalg as s, scipy.sparse as m, numpy as np, scipy.integrate as i\n"
        "s.spsolve(m.eye(50).tocsc(), np.ones(50)).sum(), i.solve_ivp(lambda t, y: -y, (0, 1), [1.0]).success"
    ),
    "sympy": "import sympy; x = sympy.Symbol('x'); sympy.integrate(sympy.exp(-x**2), (x, 0, sympy.oo))",
    "matplotlib": "import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.savefig('a.png'); plt.close('all')",
    "private memory": "import mmap; m = mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE); m[:2] = b'ab'; m[:2]",
    "files in memory": (
        "import mmap\nwith open('f', 'w+b') as f:\n    f.truncate(8192)\n"
        "    with mmap.mmap(f.fileno(), 8192) as m:\n        m[:2] = b'ab'\n    f.seek(0); f.read(2)"
    ),
    "queues": (
        "import queue, threading; q = queue.Queue()\n"
        "threading.Thread(target=q.put, args=(1,)).start(); q.get()"
    ),
    "big numbers": "import math; len(str(math.factorial(1500)))",
}


@pytest.fixture(scope="module", params=[(), ("namespaces",)], ids=["full", "fallback"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with Sandbox(Limits(wall_seconds=60), _without=request.param) as opened:
        yield opened


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_honest_program_runs(sandbox: Sandbox, name: str) -> None:
    outcome = sandbox.run(PROGRAMS[name])
    assert (outcome.status, outcome.error) == ("ok", None)
