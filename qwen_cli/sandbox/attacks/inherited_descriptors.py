# escape: a descriptor besides input, output and the sandbox's channel is open
import os, stat
held = []
for fd in range(4096):
    try:
        held.append((fd, oct(stat.S_IFMT(os.fstat(fd).st_mode))))
    except OSError:
        pass
print("ESCAPED:", held) if len(held) > 4 else print("contained", held)
