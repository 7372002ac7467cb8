# escape: pages that mremap has left behind are kept above the limit
# status: ok error killed memory timeout
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = libc.mremap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.mremap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p]
FAILED, PART = ctypes.c_void_p(-1).value, 32 << 20
held = 0
for _ in range(64):
    at = libc.mmap(None, PART, 3, 0x22, -1, 0)
    if at == FAILED:
        break
    ctypes.memset(at, 1, PART)
    for flags, old in ((1 | 4, PART), (1, 0)):  # MREMAP_DONTUNMAP; a second mapping of the same
        libc.mremap(at, old, PART, flags, None)
    if libc.mremap(at, PART, 4096, 0, None) == FAILED:
        break
    held += PART
    libc.mremap(at, 4096, PART, 1, None)
    if held > 1 << 30:  # what was given back counts no more: only what stays is asked for below
        break
blocks = []
try:
    for _ in range(40):
        blocks.append(bytearray(b"\1") * (30 << 20))
    print("ESCAPED: 1.2 GB beside what was moved")
except MemoryError:
    print("contained")
