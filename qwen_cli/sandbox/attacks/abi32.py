# escape: a system call through the 32-bit entry or the x32 numbers passes the filter
# needs: seccomp
# status: killed
import ctypes, mmap, platform
if platform.machine() != "x86_64":
    ctypes.string_at(0)
page = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE, prot=7)
# mov eax, 20 (getpid of i386); int 0x80; ret
page.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
print("ESCAPED: int 0x80 says", call())
