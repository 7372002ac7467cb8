# escape: limits of a process outside are changed, or its own raised
import ctypes, os, resource
libc = ctypes.CDLL(None, use_errno=True)
hits = []
new = (ctypes.c_uint64 * 2)(1, 1)
for pid in (os.getppid(), PARENT, TEMPLATE):
    if pid and libc.prlimit(pid, 7, new, None) == 0:
        hits.append(pid)
for which in (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
    try:
        resource.setrlimit(which, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        hits.append(which)
    except (OSError, ValueError):
        pass
print("ESCAPED:", hits) if hits else print("contained")
