# escape: address randomisation is switched off, or the filter or dumpability changed
# needs: seccomp
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
hits = []
if libc.personality(0x0040000) >= 0:
    hits.append("personality")
if libc.prctl(4, 1, 0, 0, 0) == 0:
    hits.append("dumpable")
if libc.prctl(22, 0, 0, 0, 0) == 0:
    hits.append("seccomp off")
print("ESCAPED:", hits) if hits else print("contained")
