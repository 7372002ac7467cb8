# escape: a descriptor of the caller, the supervisor or the warmed process is still open
import os, stat
hits = []
for fd in range(4096):
    try:
        info = os.fstat(fd)
    except OSError:
        continue
    kind = stat.S_IFMT(info.st_mode)
    allowed = {0: stat.S_IFCHR, 1: stat.S_IFIFO, 2: stat.S_IFIFO, 3: stat.S_IFSOCK}
    if allowed.get(fd) != kind:
        hits.append((fd, oct(kind)))
for fd in (0, 1, 2, 3):
    for way in ("..", "../..", "proc", "."):
        try:
            os.close(os.open(way, os.O_RDONLY, dir_fd=fd))
            hits.append((fd, way))
        except OSError:
            pass
print("ESCAPED:", hits) if hits else print("contained")
