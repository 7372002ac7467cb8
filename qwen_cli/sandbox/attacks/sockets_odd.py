# escape: a socket of any family can be had, or the channel can be used as one
# needs: seccomp
import ctypes, platform, socket
libc = ctypes.CDLL(None, use_errno=True)
x86 = platform.machine() == "x86_64"
hits = []
for family in range(46):
    for kind in (1, 2, 3, 5):
        fd = libc.socket(family, kind, 0)
        if fd >= 0:
            hits.append((family, kind))
pair = (ctypes.c_int * 2)()
if libc.socketpair(1, 1, 0, pair) >= 0:
    hits.append("socketpair")
buffer = ctypes.create_string_buffer(256)
for name, number, arguments in (
    ("accept", 43 if x86 else 202, (3, 0, 0)), ("accept4", 288 if x86 else 242, (3, 0, 0, 0)),
    ("connect", 42 if x86 else 203, (3, buffer, 2)), ("bind", 49 if x86 else 200, (3, buffer, 2)),
    ("listen", 50 if x86 else 201, (3, 1)), ("shutdown", 48 if x86 else 210, (3, 0)),
    ("getpeername", 52 if x86 else 205, (3, buffer, buffer)), ("getsockopt", 55 if x86 else 209, (3, 1, 17, buffer, buffer)),
    ("setsockopt", 54 if x86 else 208, (3, 1, 7, buffer, 4)), ("sendto", 44 if x86 else 206, (3, buffer, 1, 0, 0, 0)),
    ("recvfrom", 45 if x86 else 207, (3, buffer, 1, 64, 0, 0)), ("recvmsg", 47 if x86 else 212, (3, buffer, 64)),
    ("sendmmsg", 307 if x86 else 269, (3, buffer, 0, 0)),
):
    if libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]) >= 0:
        hits.append(name)
print("ESCAPED:", hits[:9]) if hits else print("contained")
