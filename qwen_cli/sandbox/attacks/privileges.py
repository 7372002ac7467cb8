# escape: powers are regained: user 0, capabilities, a new filter, new privileges allowed again
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
hits = []
for name, call in {"setuid": lambda: os.setuid(0), "setresuid": lambda: os.setresuid(0, 0, 0), "setgid": lambda: os.setgid(0),
                   "setgroups": lambda: os.setgroups([0])}.items():
    try:
        if os.getuid() == 0:
            continue
        call()
        hits.append(name)
    except OSError:
        pass
header = ctypes.create_string_buffer(bytes.fromhex("2205082000000000")[::1], 8)
data = ctypes.create_string_buffer(b"\xff" * 24, 24)
if libc.capset(header, data) == 0:
    hits.append("capset")
libc.prctl(38, 0, 0, 0, 0)
if libc.prctl(39, 0, 0, 0, 0) != 1:
    hits.append("no_new_privs")
if libc.prctl(24, 0, 0, 0, 0) == 0:
    hits.append("bounding set")
print("ESCAPED:", hits) if hits else print("contained")
