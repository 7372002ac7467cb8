"""How fast this machine reads its memory: what limits a model that writes one token at a time.

Each core scans a buffer of its own with the C library's `memchr` for a byte that is not there. That reads
with the widest loads the processor has, writes nothing, and runs outside Python's lock; it is reading weights
without the multiplying. Time is that of each thread on the processor, so that other programs, which take
turns on the cores, are not taken for slow memory.
"""

from __future__ import annotations

import ctypes
import json
import os
import threading
import time
from pathlib import Path

_SECONDS = 0.5
# All cores' buffers together: more than a processor's caches hold, and quick to fill (0.1 s).
_BYTES = 256 << 20


def measure(cores: int, seconds: float = _SECONDS) -> float:
    """Bytes a second that `cores` cores read together, over about `seconds` seconds."""
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


def _scanner() -> ctypes._NamedFuncPointer:
    library = ctypes.cdll.msvcrt if os.name == "nt" else ctypes.CDLL(None)
    scan = library.memchr
    scan.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)
    scan.restype = ctypes.c_void_p
    return scan


def remembered(cores: int) -> float | None:
    """What was measured on this machine with as many cores, or None."""
    try:
        found = json.loads(_file().read_text("utf-8"))
        value = found["bandwidth"][str(cores)]
        return float(value) if value > 0 else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def measure_and_remember(cores: int) -> float:
    """Measure, and keep the figure beside the models; the best of what was ever seen is what memory can
    do."""
    value = measure(cores)
    file = _file()
    try:
        known = json.loads(file.read_text("utf-8"))["bandwidth"]
        known[str(cores)] = max(value, float(known.get(str(cores), 0)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        known = {str(cores): value}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_name(f"{file.name}.{os.getpid()}.new")
        draft.write_text(json.dumps({"bandwidth": known}), "utf-8")
        draft.replace(file)
    except OSError:
        pass  # a folder that cannot be written costs half a second the next time
    return float(known[str(cores)])


def _file() -> Path:
    from qwen_cli.models import starter

    return starter.data_folder() / "machine.json"
