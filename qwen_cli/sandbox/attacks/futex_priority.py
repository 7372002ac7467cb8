# escape: the kernel's locks that lend priority are within reach
# needs: seccomp
import ctypes, platform
libc = ctypes.CDLL(None, use_errno=True)
number = {"x86_64": 202, "aarch64": 98}[platform.machine()]
word, other = ctypes.c_uint(0), ctypes.c_uint(0)
hits = []
for command in (2, 6, 7, 8, 11, 12, 13):
    for flags in (0, 128, 256, 384):
        ctypes.set_errno(0)
        result = libc.syscall(ctypes.c_long(number), ctypes.byref(word), ctypes.c_long(command | flags), ctypes.c_long(0),
                              (ctypes.c_long * 2)(0, 1000), ctypes.byref(other), ctypes.c_long(0))
        if result >= 0 or ctypes.get_errno() not in (1, 38):
            hits.append((command, flags, ctypes.get_errno()))
for young in (449, 454, 455, 456):
    if libc.syscall(ctypes.c_long(young), 0, 0, 0, 0, 0, 0) >= 0 or ctypes.get_errno() != 38:
        hits.append(young)
print("ESCAPED:", hits) if hits else print("contained")
