# escape: a handle on a process outside is had, and a descriptor taken from it or a signal sent through it
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
hits = []
for pid in (PARENT, TEMPLATE):
    fd = libc.syscall(434, pid, 0)
    if fd >= 0:
        hits.append(("open", pid))
        if libc.syscall(438, fd, 0, 0) >= 0:
            hits.append(("getfd", pid))
print("ESCAPED:", hits) if hits else print("contained")
