# escape: a child of another parent, or one that shares memory or files alone, outlives the run
# status: ok error killed
import ctypes, os, platform, signal, time
libc = ctypes.CDLL(None, use_errno=True)
x86 = platform.machine() == "x86_64"
PARENT_OF_MINE, UNTRACED, VM, FS, FILES, SIGHAND, VFORK, IO = 0x8000, 0x800000, 0x100, 0x200, 0x400, 0x800, 0x4000, 0x80000000
for flags in (PARENT_OF_MINE, UNTRACED, FS | FILES, IO, PARENT_OF_MINE | FS | FILES | UNTRACED, 0):
    for last in (0, signal.SIGCHLD):
        pid = libc.syscall(ctypes.c_long(56 if x86 else 220), ctypes.c_long(flags | last), None, None, None, None)
        if pid == 0:
            try:
                os.setsid()
            except OSError:
                pass
            libc.prctl(15, b"qwen-canary", 0, 0, 0)
            for fd in range(3, 64):
                try:
                    os.close(fd)
                except OSError:
                    pass
            time.sleep(60)
            os._exit(0)
arguments = (ctypes.c_uint64 * 11)(PARENT_OF_MINE)
for size in (64, 80, 88):
    if libc.syscall(ctypes.c_long(435), arguments, ctypes.c_long(size)) == 0:
        libc.prctl(15, b"qwen-canary", 0, 0, 0)
        time.sleep(60)
print("started or refused")
