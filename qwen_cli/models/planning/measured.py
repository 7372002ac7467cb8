"""How fast this machine reads its memory and multiplies: what limits a model that writes token by token.

For the first, each core scans a buffer of its own with the C library's `memchr` for a byte that is not there.
That reads with the widest loads the processor has, writes nothing, and runs outside Python's lock; it is
reading weights without the multiplying. Time is that of each thread on the processor, so that other programs,
which take turns on the cores, are not taken for slow memory.

For the second, one core multiplies small matrices, which stay in its cache, with numpy's BLAS. Like the
libraries that compute models that takes the widest instructions that the processor has.
"""

from __future__ import annotations

import ctypes
import json
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from qwen_cli import paths

_READING, _MULTIPLYING = 0.35, 0.15  # seconds
# All cores' buffers together: more than a processor's caches hold, and quick to fill (0.1 s).
_BYTES = 256 << 20
# Rows and columns of the matrices: 16 KiB each. OpenBLAS computes products of up to 64³ on one core
# (SMP_THRESHOLD_MIN × GEMM_MULTITHREAD_THRESHOLD in its interface/gemm.c).
_SIZE = 64
_KEPT = 5  # measurements, of which the median counts: memory that is shared with others is not always as fast


@dataclass(frozen=True)
class Measured:
    """`bandwidth` is in bytes a second of all cores together, `multiplying` in float32 multiply-adds a second
    of one core."""

    bandwidth: float
    multiplying: float


def measure(cores: int) -> Measured:
    """Measure with `cores` cores, for about half a second."""
    return Measured(bandwidth(cores), multiplying())


def bandwidth(cores: int, seconds: float = _READING) -> float:
    """Return the bytes a second that `cores` cores read together, over about `seconds` seconds."""
    scan = _scanner()
    size = _BYTES // cores
    buffers = [ctypes.create_string_buffer(size) for _ in range(cores)]
    for buffer in buffers:
        ctypes.memset(buffer, 1, size)  # pages that nobody wrote are all the same one
    rates = [0.0] * cores
    barrier = threading.Barrier(cores)

    def scan_again(index: int) -> None:
        barrier.wait()
        end, begin, read = time.perf_counter() + seconds, time.thread_time(), 0
        while time.perf_counter() < end:
            scan(buffers[index], 0xFF, size)
            read += size
        rates[index] = read / max(time.thread_time() - begin, 1e-6)

    threads = [threading.Thread(target=scan_again, args=(index,)) for index in range(cores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(rates)


def multiplying(seconds: float = _MULTIPLYING) -> float:
    """Measure the Float32 multiply-adds a second of one core, over about `seconds` seconds."""
    import numpy  # 0.1 s; transformers brings it

    matrix: Any = numpy.ones((_SIZE, _SIZE), numpy.float32)
    product = numpy.empty_like(matrix)
    end, begin, count = time.perf_counter() + seconds, time.thread_time(), 0
    while time.perf_counter() < end:
        for _ in range(32):  # 0.2 ms between looks at the clock
            numpy.matmul(matrix, matrix, out=product)
        count += 32
    return float(count * _SIZE**3 / max(time.thread_time() - begin, 1e-6))


def _scanner() -> ctypes._NamedFuncPointer:
    library = ctypes.cdll.msvcrt if os.name == "nt" else ctypes.CDLL(None)
    scan = library.memchr
    scan.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)
    scan.restype = ctypes.c_void_p
    return scan


def remembered(cores: int) -> Measured | None:
    """Return what was measured on this machine with as many cores, or None."""
    try:
        return _usual(_known()[str(cores)])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def measure_and_remember(cores: int) -> Measured:
    """Measure, and keep the figures beside the models; the median of the latest."""
    measured, file, known = measure(cores), _file(), _known()
    latest = [[measured.bandwidth, measured.multiplying]]
    try:
        _usual(known[str(cores)])  # what cannot be read is forgotten
        latest = [*known[str(cores)], *latest][-_KEPT:]
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        paths.replace(file, json.dumps({**known, str(cores): latest}))
    except OSError:
        pass  # a folder that cannot be written costs half a second the next time
    return _usual(latest)


def _usual(measurements: list[list[float]]) -> Measured:
    """Return the median of pairs as they are kept. Raises `ValueError`, `TypeError` for anything else."""
    reading, counts = zip(*measurements, strict=True)
    usual = Measured(float(median(reading)), float(median(counts)))
    if not (usual.bandwidth > 0 and usual.multiplying > 0):
        raise ValueError(f"{usual} is no speed")
    return usual


def _known() -> dict[str, Any]:
    """Return what the file holds by numbers of cores."""
    try:
        known = json.loads(_file().read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return (
        {cores: pairs for cores, pairs in known.items() if cores.isdigit()} if isinstance(known, dict) else {}
    )


def _file() -> Path:
    return paths.data_folder() / "machine.json"
