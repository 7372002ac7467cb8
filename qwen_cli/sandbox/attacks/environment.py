# escape: a variable of the caller's environment is visible
import ctypes, os
libc = ctypes.CDLL(None)
libc.getenv.restype = ctypes.c_char_p
seen = [n for n in ("QWEN_CANARY", "PATH", "USER", "SSH_AUTH_SOCK") if n in os.environ or libc.getenv(n.encode())]
environ = ctypes.POINTER(ctypes.c_char_p).in_dll(libc, "environ")
i = 0
while environ and environ[i]:
    if b"CANARY" in environ[i]:
        seen.append(environ[i].decode())
    i += 1
print("ESCAPED: environment", seen) if seen else print("contained")
