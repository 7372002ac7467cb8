# escape: the keys of the session are read or a key is left behind
# needs: seccomp
import ctypes, platform
libc = ctypes.CDLL(None, use_errno=True)
add, _, keyctl = {"x86_64": (248, 249, 250), "aarch64": (217, 218, 219)}[platform.machine()]
hits = [n for n, r in (("keyctl", libc.syscall(keyctl, 0, -3, 0)), ("add", libc.syscall(add, b"user", b"q", b"x", 1, -4))) if r >= 0]
print("ESCAPED:", hits) if hits else print("contained")
