# escape: characters are pushed into the caller's terminal
import fcntl, os
hits = []
for fd in (0, 1, 2):
    try:
        fcntl.ioctl(fd, 0x5412, b"x")
        hits.append(fd)
    except OSError:
        pass
try:
    os.open("/dev/tty", os.O_RDWR)
    hits.append("tty")
except OSError:
    pass
print("ESCAPED:", hits) if hits else print("contained")
