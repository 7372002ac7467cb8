# escape: pages are kept in pipes, where no limit counts them
# needs: seccomp
import ctypes, fcntl, os, platform
libc = ctypes.CDLL(None, use_errno=True)
x86 = platform.machine() == "x86_64"
r, w = os.pipe()
with open("file", "wb") as f:
    f.write(b"x" * 65536)
file = os.open("file", os.O_RDONLY)
hits = []
def call(name, number, *arguments):
    if libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]) >= 0:
        hits.append(name)
call("sendfile", 40 if x86 else 71, w, file, 0, 4096)
call("splice", 275 if x86 else 76, file, 0, w, 0, 4096, 0)
call("tee", 276 if x86 else 77, r, w, 4096, 2)
call("vmsplice", 278 if x86 else 75, w, ctypes.create_string_buffer(16), 0, 0)
for size in (1 << 17, 1 << 20, 1 << 24):
    call("F_SETPIPE_SZ", 72 if x86 else 25, w, 1031, size)
print("ESCAPED:", hits) if hits else print("contained")
