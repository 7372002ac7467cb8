# escape: a program that was never a file is executed and runs outside the layers
# needs: seccomp
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
hits = []
try:
    fd = os.memfd_create("x")
    hits.append("memfd")
    os.write(fd, b"#!/bin/sh\necho")
    os.execve(fd, ["x"], {})
except OSError:
    pass
try:
    with open("prog", "wb") as f:
        f.write(b"#!/bin/sh\n")
    os.chmod("prog", 0o700)
    os.execv("./prog", ["prog"])
except OSError:
    pass
print("ESCAPED:", hits) if hits else print("contained")
