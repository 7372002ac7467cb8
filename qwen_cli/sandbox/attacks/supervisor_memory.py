# escape: the memory of the process that watches the sandbox is read or changed
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
hits = []
for pid in (os.getppid(), PARENT, TEMPLATE):
    for leaf in ("mem", "maps", "pagemap", "syscall", "stack", "fd", "auxv"):
        try:
            fd = os.open(f"/proc/{pid}/{leaf}", os.O_RDONLY)
            hits.append((pid, leaf))
        except OSError:
            pass
try:
    ctypes.string_at(libc.getpid)
except OSError:
    pass
print("ESCAPED:", hits) if hits else print("contained")
