# escape: a pipe, a socket or a device gets a name
# needs: seccomp
import ctypes, os, platform, stat
libc = ctypes.CDLL(None, use_errno=True)
hits = []
for kind in (stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK):
    for device in (0, os.makedev(1, 1), os.makedev(5, 2), os.makedev(10, 229)):
        try:
            os.mknod("special", kind | 0o600, device)
            hits.append((oct(kind), device))
            os.unlink("special")
        except OSError:
            pass
print("ESCAPED:", hits) if hits else print("contained")
