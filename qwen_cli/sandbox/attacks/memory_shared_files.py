# escape: memory behind a descriptor, a key or a device holds more than the limit
# needs: seccomp
import ctypes, mmap, os, platform
libc = ctypes.CDLL(None, use_errno=True)
x86 = platform.machine() == "x86_64"
hits = []
def call(name, number, *arguments):
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    if result >= 0:
        hits.append(name)
call("memfd_create", 319 if x86 else 279, b"x", 0)
call("memfd_secret", 447, 0)
call("shmget", 29 if x86 else 194, 0, 64 << 20, 0o1600)
call("msgget", 68 if x86 else 186, 0, 0o1600)
call("mq_open", 240 if x86 else 180, b"qwen_escape", 0o102, 0o600, 0)
call("remap_file_pages", 216 if x86 else 234, 0, 4096, 0, 0, 0)
call("add_key", 248 if x86 else 217, b"user", b"x", b"y" * 1000, 1000, -2)
call("inotify_init1", 294 if x86 else 26, 0)
call("userfaultfd", 323 if x86 else 282, 0)
r, w = os.pipe()
call("vmsplice", 278 if x86 else 75, w, ctypes.create_string_buffer(16), 0, 0)
call("tee", 276 if x86 else 77, r, w, 1, 2)
call("mlock", 149 if x86 else 228, ctypes.addressof(ctypes.create_string_buffer(8192)), 4096)
for path in ("/dev/zero", "/dev/shm/qwen_escape", "/dev/hugepages/qwen_escape", "/run/shm/qwen_escape"):
    try:
        fd = os.open(path, os.O_RDWR | (os.O_CREAT if "escape" in path else 0))
        mmap.mmap(fd, 4096)
        hits.append(path)
    except (OSError, ValueError):
        pass
print("ESCAPED:", hits) if hits else print("contained")
