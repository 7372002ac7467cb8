# escape: it runs before others, or is not the first to go when memory ends
# needs: seccomp
import ctypes, os, platform
libc = ctypes.CDLL(None, use_errno=True)
x86 = platform.machine() == "x86_64"
hits = []
if os.getpriority(os.PRIO_PROCESS, 0) < 10:
    hits.append("nice is %d" % os.getpriority(os.PRIO_PROCESS, 0))
for name, call in {
    "nice": lambda: os.nice(-1),
    "setpriority": lambda: os.setpriority(os.PRIO_PROCESS, 0, 0),
    "scheduler": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
    "batch": lambda: os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0)),
    "affinity": lambda: os.sched_setaffinity(0, {0}),
    "oom": lambda: open("/proc/self/oom_score_adj", "w").write("-1000"),
}.items():
    try:
        call()
        hits.append(name)
    except OSError:
        pass
for name, number, arguments in (("ioprio_set", 251 if x86 else 30, (1, 0, 1 << 13)), ("sched_setattr", 314 if x86 else 274, (0, 0, 0))):
    if libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments)) >= 0:
        hits.append(name)
print("ESCAPED:", hits) if hits else print("contained")
