# escape: something is mounted, unmounted or made writable
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
hits = []
if libc.mount(b"proc", b"/tmp", b"proc", 0, None) == 0:
    hits.append("proc")
if libc.mount(b"tmpfs", b"/tmp", b"tmpfs", 0, None) == 0:
    hits.append("tmpfs")
if libc.mount(None, b"/", None, 32, None) == 0:
    hits.append("remount")
if libc.umount2(b"/tmp", 2) == 0:
    hits.append("umount")
if libc.syscall(430, b"tmpfs", 0) >= 0:
    hits.append("fsopen")
if libc.syscall(428, -100, b"/", 1) >= 0:
    hits.append("open_tree")
print("ESCAPED:", hits) if hits else print("contained")
