# escape: shared memory that is filled and then unmapped but for one page holds more than the limit
# status: ok
# needs: seccomp
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
libc.mremap.restype = ctypes.c_void_p
libc.mremap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int]
SIZE, PAGE, FAILED = 32 << 20, 4096, (None, 2**64 - 1)
SHARED, VALIDATE, ANONYMOUS, NORESERVE, POPULATE, STACK = 1, 3, 0x20, 0x4000, 0x8000, 0x20000
held = 0
for kind in (SHARED, VALIDATE, SHARED | NORESERVE, SHARED | POPULATE, SHARED | STACK, VALIDATE | NORESERVE):
    for _ in range(20):
        start = libc.mmap(None, SIZE, 3, kind | ANONYMOUS, -1, 0)
        if start in FAILED:
            break
        ctypes.memset(start, 65, SIZE)
        libc.munmap(start + PAGE, SIZE - PAGE)
        held += SIZE
        if held > 8 * SIZE:
            print("ESCAPED: held already", held >> 20, "MB")
# A mapping that was private cannot become shared, nor be doubled by moving nothing of it.
start = libc.mmap(None, SIZE, 3, 2 | ANONYMOUS, -1, 0)
if start not in FAILED and libc.mremap(start, 0, SIZE, 1) not in FAILED:
    held += 1
print("ESCAPED: %d MB held" % (held >> 20)) if held else print("contained")
