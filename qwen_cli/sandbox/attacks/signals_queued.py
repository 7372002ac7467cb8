# escape: a signal reaches a process outside by one of the rarer calls
import ctypes, platform, struct
libc = ctypes.CDLL(None, use_errno=True)
x86 = platform.machine() == "x86_64"
info = ctypes.create_string_buffer(struct.pack("iii", 15, 0, -1), 128)
hits = []
def call(name, number, *arguments):
    if libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]) >= 0:
        hits.append(name)
for pid in (PARENT, TEMPLATE):
    call("rt_sigqueueinfo", 129 if x86 else 138, pid, 15, info)
    call("rt_tgsigqueueinfo", 297 if x86 else 240, pid, pid, 15, info)
    call("tgkill", 234 if x86 else 131, pid, pid, 15)
    call("tkill", 200 if x86 else 130, pid, 15)
    call("kill", 62 if x86 else 129, pid, 15)
    call("pidfd_open", 434, pid, 0)
    event = ctypes.create_string_buffer(struct.pack("PiiI", 0, 15, 4, pid), 64)
    call("timer_create", 222 if x86 else 107, 1, event, ctypes.create_string_buffer(8))
print("ESCAPED:", hits) if hits else print("contained if the caller still runs")
