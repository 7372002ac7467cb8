# escape: disk space is taken by asking for it, in files that have no name any more
# fills: a disk
import ctypes, os, platform
libc = ctypes.CDLL(None, use_errno=True)
number = {"x86_64": 285, "aarch64": 47}[platform.machine()]
held = 0
for mode in (0, 1, 0x10, 0x11, 0x40):
    fd = os.open(f"h{mode}", os.O_CREAT | os.O_RDWR)
    os.unlink(f"h{mode}")
    for size in (1 << 30, 60 << 20):
        if libc.syscall(ctypes.c_long(number), ctypes.c_long(fd), ctypes.c_long(mode), ctypes.c_long(0), ctypes.c_long(size)) == 0:
            held += size >> 20
print("ESCAPED: %d MB" % held) if held > 200 else print("contained", held)
