# escape: a system call through the x32 numbers passes the filter
# needs: seccomp
# status: killed
import ctypes
result = ctypes.CDLL(None, use_errno=True).syscall(0x40000000 | 39)
print("ESCAPED: x32 says", result)
