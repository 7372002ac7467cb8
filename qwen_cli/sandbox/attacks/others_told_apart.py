# escape: a call tells a process of the host from one that does not exist
# needs: seccomp
import ctypes, platform
libc = ctypes.CDLL(None, use_errno=True)
x86 = platform.machine() == "x86_64"
buffer = ctypes.create_string_buffer(4096)
NOBODY = 4_194_000
PI, TIMEOUT = 6, (ctypes.c_long * 2)(0, 1_000_000)
def said(number, *arguments):
    ctypes.set_errno(0)
    ready = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = libc.syscall(ctypes.c_long(number), *ready)
    return (min(result, 0), ctypes.get_errno())
def word(pid):
    return ctypes.byref(ctypes.c_uint(pid))
calls = {
    "kill": lambda pid: said(62 if x86 else 129, pid, 0),
    "tgkill": lambda pid: said(234 if x86 else 131, pid, pid, 0),
    "tkill": lambda pid: said(200 if x86 else 130, pid, 0),
    "getpgid": lambda pid: said(121 if x86 else 155, pid),
    "getsid": lambda pid: said(124 if x86 else 156, pid),
    "setpgid": lambda pid: said(109 if x86 else 154, pid, 0),
    "getpriority": lambda pid: said(140 if x86 else 141, 0, pid),
    "getpriority of a group": lambda pid: said(140 if x86 else 141, 1, pid),
    "sched_getaffinity": lambda pid: said(204 if x86 else 123, pid, 4096, buffer),
    "sched_getparam": lambda pid: said(143 if x86 else 121, pid, buffer),
    "sched_getscheduler": lambda pid: said(145 if x86 else 120, pid),
    "sched_getattr": lambda pid: said(315 if x86 else 275, pid, buffer, 56, 0),
    "sched_rr_get_interval": lambda pid: said(148 if x86 else 127, pid, buffer),
    "get_robust_list": lambda pid: said(274 if x86 else 100, pid, buffer, buffer),
    "capget": lambda pid: said(125 if x86 else 90, (ctypes.c_uint * 2)(0x20080522, pid), buffer),
    "prlimit": lambda pid: said(302 if x86 else 261, pid, 7, 0, buffer),
    "clock_gettime": lambda pid: said(228 if x86 else 113, (~pid << 3) | 2, buffer),
    "clock_getres": lambda pid: said(229 if x86 else 114, (~pid << 3) | 2, buffer),
    "futex": lambda pid: said(202 if x86 else 98, word(pid), PI, 0, TIMEOUT, 0, 0),
    "ioprio_get": lambda pid: said(252 if x86 else 31, 1, pid),
    "migrate_pages": lambda pid: said(256 if x86 else 238, pid, 0, 0, 0),
    "move_pages": lambda pid: said(279 if x86 else 239, pid, 0, 0, 0, 0, 0),
    "pidfd_open": lambda pid: said(434, pid, 0),
    "process_vm_readv": lambda pid: said(310 if x86 else 270, pid, 0, 0, 0, 0, 0),
    "kcmp": lambda pid: said(312 if x86 else 272, pid, pid, 0, 0, 0),
    "ptrace": lambda pid: said(101 if x86 else 117, 16, pid, 0, 0),
    "waitid": lambda pid: said(247 if x86 else 95, 1, pid, buffer, 5, 0),
}
hits = [name for name, call in calls.items() if any(call(pid) != call(NOBODY) for pid in (PARENT, TEMPLATE))]
print("ESCAPED:", hits) if hits else print("contained")
