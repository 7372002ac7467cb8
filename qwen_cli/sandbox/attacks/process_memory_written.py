# escape: memory of the caller or of the warmed process is read or written
import ctypes, os, platform
libc = ctypes.CDLL(None, use_errno=True)
x86 = platform.machine() == "x86_64"
class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
buffer = ctypes.create_string_buffer(64)
ours, theirs = Vector(ctypes.addressof(buffer), 64), Vector(ctypes.addressof(buffer), 64)
hits = []
for pid in (PARENT, TEMPLATE, os.getppid(), 1):
    if pid == os.getpid() or pid <= 0:
        continue
    for name, number in {"readv": 310 if x86 else 270, "writev": 311 if x86 else 271}.items():
        done = libc.syscall(ctypes.c_long(number), ctypes.c_long(pid), ctypes.byref(ours), ctypes.c_long(1),
                            ctypes.byref(theirs), ctypes.c_long(1), ctypes.c_long(0))
        if done > 0:
            hits.append((name, pid))
    if libc.syscall(ctypes.c_long(312 if x86 else 272), pid, os.getpid(), 0, 0, 0) >= 0:
        hits.append(("kcmp", pid))
    for part in ("mem", "environ", "maps", "fd", "root", "cwd", "exe", "stack", "syscall", "pagemap", "auxv", "io"):
        try:
            path = f"/proc/{pid}/{part}"
            if os.path.isdir(path) and part != "fd":
                os.listdir(path)
            elif part == "fd":
                os.listdir(path)
            else:
                open(path, "rb").read(1)
            hits.append(path)
        except OSError:
            pass
for path in ("/proc/self/mem", "/proc/thread-self/mem", "/proc/self/clear_refs", "/proc/self/oom_score_adj", "/proc/self/attr/current"):
    try:
        os.open(path, os.O_WRONLY)
        hits.append(path)
    except OSError:
        pass
print("ESCAPED:", hits) if hits else print("contained")
