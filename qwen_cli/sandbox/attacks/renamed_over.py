# escape: renameat2 swaps, covers or hides a file outside
import ctypes, os, platform
libc = ctypes.CDLL(None, use_errno=True)
number = 316 if platform.machine() == "x86_64" else 276
HERE, NOREPLACE, EXCHANGE, WHITEOUT = -100, 1, 2, 4
hits = []
open("mine", "w").write("x")
os.makedirs("folder", exist_ok=True)
for target in (SECRET, os.path.dirname(SECRET), os.path.dirname(SECRET) + "/qwen_escape", os.__file__, "/etc/passwd",
               "/qwen_escape", "/usr/lib/qwen_escape", "/tmp/../qwen_escape", "/proc/self/cwd/../../qwen_escape"):
    for flags in (0, NOREPLACE, EXCHANGE, WHITEOUT, WHITEOUT | NOREPLACE):
        for one, other in ((b"mine", target.encode()), (target.encode(), b"mine2"), (b"folder", target.encode())):
            if libc.syscall(ctypes.c_long(number), HERE, one, HERE, other, flags) == 0:
                inside = os.path.realpath(target).startswith(os.getcwd())
                if not inside:
                    hits.append((target, flags, one))
if libc.syscall(ctypes.c_long(number), HERE, b"mine", HERE, b"white", WHITEOUT) == 0 and os.path.exists("mine"):
    import stat
    try:
        os.open("mine", os.O_RDWR)
        hits.append("a whiteout is a device")
    except OSError:
        pass
# The root of the sandbox itself may hold a name of this run's alone: nothing outside has it then.
hits = [hit for hit in hits if not (hit[0] in ("/qwen_escape",) and os.path.realpath("/qwen_escape").startswith(os.getcwd()))]
print("ESCAPED:", hits) if hits else print("contained")
