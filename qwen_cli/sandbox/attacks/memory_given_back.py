# escape: the interpreter's copy is given back and as much is taken again, in each of many processes
# status: memory killed error timeout ok
import ctypes, os, time
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
def hold(size):
    start = libc.mmap(None, size, 3, 0x22, -1, 0)
    if start in (None, 2**64 - 1):
        return 0
    ctypes.memset(start, 65, size)
    return size
pids = []
r, w = os.pipe()
try:
    for _ in range(8):
        if (pid := os.fork()) == 0:
            for _ in range(8):
                # What numpy, sympy and the rest brought is written over: pages of the parent's become its own.
                if hold(22 << 20):
                    os.write(w, b".")
            time.sleep(60)
        pids.append(pid)
except OSError:
    raise SystemExit(1)
time.sleep(1.2)
os.set_blocking(r, False)
try:
    held = 22 * len(os.read(r, 1000))
except OSError:
    held = 0
print("ESCAPED:" if held > 600 else "contained", "%d MB held by %d processes" % (held, len(pids)))
