# escape: a second name of a file outside is made, or the file is moved or exchanged
import ctypes, os, platform
libc = ctypes.CDLL(None, use_errno=True)
number = {"x86_64": 316, "aarch64": 276}[platform.machine()]
hits = []
open("mine", "w").close()
for path in (SECRET, os.__file__, "/etc/passwd"):
    for name, call in {
        "link": lambda: os.link(path, "linked"),
        "link followed": lambda: os.link(path, "linked2", follow_symlinks=True),
        "link there": lambda: os.link("mine", path + ".qwen_escape"),
        "move": lambda: os.rename(path, "moved"),
        "move there": lambda: os.rename("mine", os.path.join(os.path.dirname(path), "qwen_escape")),
        "symlink there": lambda: os.symlink("/", os.path.join(os.path.dirname(path), "qwen_escape")),
    }.items():
        try:
            call()
            hits.append((name, path))
        except OSError:
            pass
    for flags in (1, 2, 4, 5):
        if libc.syscall(ctypes.c_long(number), ctypes.c_long(-100), path.encode(), ctypes.c_long(-100), b"mine", ctypes.c_long(flags)) == 0:
            hits.append((flags, path))
print("ESCAPED:", hits) if hits else print("contained")
