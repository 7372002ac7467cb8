# escape: a switch of the process is turned back: to live on, to be traced, to grow, to have powers
# needs: seccomp
import ctypes, platform, resource
libc = ctypes.CDLL(None, use_errno=True)
hits = []
for name, arguments in {"PDEATHSIG": (1, 0), "DUMPABLE": (4, 1), "KEEPCAPS": (8, 1), "TIMING": (14, 1), "SECCOMP": (22, 1),
                        "CAPBSET_DROP": (24, 0), "TSC": (26, 2), "SECUREBITS": (28, 1), "TIMERSLACK": (29, 1), "MCE_KILL": (33, 1, 0),
                        "MM": (35, 1, 4096), "CHILD_SUBREAPER": (36, 1), "THP_DISABLE": (41, 1), "MPX": (43,), "AMBIENT": (47, 2, 0),
                        "SPECULATION": (53, 0, 1), "IO_FLUSHER": (57, 1), "USER_DISPATCH": (59, 1, 0, 0, 0), "CORE_SCHED": (62, 1, 0, 1, 0),
                        "MDWE": (65, 1), "MEMORY_MERGE": (67, 1), "PTRACER": (0x59616D61, -1)}.items():
    full = [ctypes.c_ulong(a) for a in (*arguments, 0, 0, 0, 0)][:5]
    if libc.prctl(*full) >= 0:
        hits.append(name)
if platform.machine() == "x86_64":
    for code in (0x1012, 0x1021, 0x1023, 0x5001):  # ARCH_SET_CPUID, permissions for AMX, shadow stacks
        before = resource.getrlimit(resource.RLIMIT_AS)
        libc.syscall(ctypes.c_long(158), ctypes.c_long(code), ctypes.c_long(18))
        if resource.getrlimit(resource.RLIMIT_AS) != before:
            hits.append(hex(code))
for which in range(16):
    soft, hard = resource.getrlimit(which)
    try:
        resource.setrlimit(which, (hard, hard if hard == -1 else hard + 1))
        if hard != -1:
            hits.append(f"limit {which}")
    except (OSError, ValueError):
        pass
print("ESCAPED:", hits) if hits else print("contained")
