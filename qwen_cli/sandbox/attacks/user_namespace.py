# escape: a namespace made inside gives powers inside it
# needs: seccomp
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
hits = []
for flag in (0x10000000, 0x00020000, 0x40000000, 0x20000000, 0x08000000, 0x02000000, 0x10000000 | 0x00020000):
    if libc.unshare(flag) == 0:
        hits.append(hex(flag))
if libc.setns(0, 0) == 0:
    hits.append("setns")
import platform
clone = {"x86_64": 56, "aarch64": 220}[platform.machine()]
pid = libc.syscall(clone, 0x10000000 | 17, 0, 0, 0, 0)
if pid == 0:
    os._exit(0)
if pid > 0:
    hits.append("clone")
args = (ctypes.c_uint64 * 11)(0x10000000, 0, 0, 0, 17)
pid = libc.syscall(435, args, ctypes.sizeof(args))
if pid == 0:
    os._exit(0)
if pid > 0:
    hits.append("clone3")
print("ESCAPED:", hits) if hits else print("contained")
