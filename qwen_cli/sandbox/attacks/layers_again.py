# escape: a second set of layers loosens the first, or the filter hands its calls to the code
# needs: seccomp
import ctypes, platform, struct
libc = ctypes.CDLL(None, use_errno=True)
x86 = platform.machine() == "x86_64"
allow = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0x7FFF0000), 8)
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 1, ctypes.addressof(allow)), 16)
hits = []
def call(name, number, *arguments):
    if libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]) >= 0:
        hits.append(name)
for operation in range(4):
    for flags in (0, 1, 2, 4, 8, 16):
        call(f"seccomp {operation} {flags}", 317 if x86 else 277, operation, flags, program)
call("prctl seccomp", 157 if x86 else 167, 22, 2, program, 0, 0)
call("prctl tsc", 157 if x86 else 167, 26, 1, 0, 0, 0)
call("prctl dumpable", 157 if x86 else 167, 4, 1, 0, 0, 0)
call("prctl ptracer", 157 if x86 else 167, 0x59616D61, 2**64 - 1, 0, 0, 0)
call("prctl death signal", 157 if x86 else 167, 1, 0, 0, 0, 0)
call("prctl subreaper", 157 if x86 else 167, 36, 1, 0, 0, 0)
call("prctl mm", 157 if x86 else 167, 35, 1, 0, 0, 0)
call("prctl dispatch", 157 if x86 else 167, 59, 1, 0, 0, 0)
call("landlock_create_ruleset", 444, 0, 0, 1)
call("landlock_restrict_self", 446, 3, 0)
print("ESCAPED:", hits) if hits else print("contained")
