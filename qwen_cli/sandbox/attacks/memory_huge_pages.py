# escape: pages of another size hold more than the limit
# status: ok error killed memory timeout
# needs: seccomp
import ctypes, mmap, platform
libc = ctypes.CDLL(None, use_errno=True)
x86 = platform.machine() == "x86_64"
SIZE, HUGETLB, PRIVATE, SHARED, ANONYMOUS = 1 << 30, 0x40000, 2, 1, 0x20
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
FAILED = ctypes.c_void_p(-1).value
hits = []
for size in (0, 21, 30):  # the usual size, 2 MB, 1 GB
    for kind in (PRIVATE, SHARED):
        at = libc.mmap(None, SIZE, 3, kind | ANONYMOUS | HUGETLB | size << 26, -1, 0)
        if at != FAILED:
            hits.append((size, kind))
for flags in (4, 4 | 21 << 26):  # MFD_HUGETLB
    if libc.syscall(ctypes.c_long(319 if x86 else 279), b"x", ctypes.c_long(flags)) >= 0:
        hits.append(("memfd", flags))
held = []
try:
    for _ in range(40):  # 1.2 GB, of which each part is advised to be of huge pages before it is touched
        part = mmap.mmap(-1, 30 << 20, flags=mmap.MAP_PRIVATE)
        part.madvise(14)
        for at in range(0, len(part), 4096):
            part[at] = 1
        held.append(part)
    hits.append("all of 1.2 GB")
except (OSError, MemoryError):
    pass
print("ESCAPED:", hits) if hits else print("contained")
