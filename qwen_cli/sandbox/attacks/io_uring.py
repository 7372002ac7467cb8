# escape: io_uring does what the filter of system calls forbids
# needs: seccomp
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
buf = ctypes.create_string_buffer(256)
fd = libc.syscall(425, 4, buf)
print("ESCAPED: io_uring", fd) if fd >= 0 else print("contained", ctypes.get_errno())
