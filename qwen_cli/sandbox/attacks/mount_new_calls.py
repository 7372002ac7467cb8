# escape: the younger calls for mounts, and those that read them, answer
# needs: seccomp
import ctypes, platform
libc = ctypes.CDLL(None, use_errno=True)
x86 = platform.machine() == "x86_64"
hits = []
def call(name, number, *arguments):
    if libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]) >= 0:
        hits.append(name)
for kind in (b"tmpfs", b"proc", b"overlay", b"fuse", b"ramfs", b"mqueue"):
    call(f"fsopen {kind}", 430, kind, 0)
    call(f"mount {kind}", 165 if x86 else 40, b"x", b".", kind, 0, 0)
call("open_tree", 428, -100, b"/", 1)
call("open_tree detached", 428, -100, b"/", 0x8001)
call("move_mount", 429, -100, b"/", -100, b".", 0)
call("fspick", 433, -100, b"/", 0)
call("mount_setattr", 442, -100, b"/", 0x8000, ctypes.create_string_buffer(32), 32)
call("statmount", 457, ctypes.create_string_buffer(64), ctypes.create_string_buffer(512), 512, 0)
call("listmount", 458, ctypes.create_string_buffer(64), ctypes.create_string_buffer(512), 8, 0)
call("umount", 166 if x86 else 39, b"/", 2)
call("chroot", 161 if x86 else 51, b".")
call("pivot_root", 155 if x86 else 41, b".", b".")
call("swapon", 167 if x86 else 224, b"f", 0)
call("quotactl", 179 if x86 else 60, 0, b"/", 0, 0)
print("ESCAPED:", hits) if hits else print("contained")
