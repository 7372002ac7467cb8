# escape: another process can be traced or its memory read
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
class iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]
hits = []
for pid in {os.getppid(), PARENT, TEMPLATE} - {0}:
    if libc.ptrace(16, pid, None, None) == 0:
        hits.append(("attach", pid))
    if libc.ptrace(0x4206, pid, None, None) == 0:
        hits.append(("seize", pid))
    buf = ctypes.create_string_buffer(16)
    local, remote = iovec(ctypes.addressof(buf), 16), iovec(id(buf), 16)
    if libc.process_vm_readv(pid, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0) > 0:
        hits.append(("readv", pid))
    if libc.syscall(312, os.getpid(), pid, 0, 3, 3) >= 0:
        hits.append(("kcmp", pid))
print("ESCAPED:", hits) if hits else print("contained")
