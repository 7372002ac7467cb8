# escape: a call that changes or tells about the whole machine answers
# needs: seccomp
import ctypes, platform
libc = ctypes.CDLL(None, use_errno=True)
x86 = platform.machine() == "x86_64"
buffer = ctypes.create_string_buffer(8192)
hits = []
calls = {
    "syslog": (103, 116, 3, buffer, 100), "reboot": (169, 142, 0xFEE1DEAD, 672274793, 0, 0), "acct": (163, 89, b"acct"),
    "settimeofday": (164, 170, buffer, 0), "clock_settime": (227, 112, 0, buffer), "adjtimex": (159, 171, buffer),
    "clock_adjtime": (305, 266, 0, buffer), "sethostname": (170, 161, b"escape", 6), "setdomainname": (171, 162, b"x", 1),
    "kexec_load": (246, 104, 0, 0, 0, 0), "init_module": (175, 105, buffer, 1, b""), "finit_module": (313, 273, 0, b"", 0),
    "delete_module": (176, 106, b"x", 0), "vhangup": (153, 58), "sync": (162, 81), "syncfs": (306, 267, 0),
    "io_setup": (206, 0, 1, buffer), "perf_event_open": (298, 241, buffer, 0, -1, -1, 0), "bpf": (321, 280, 0, buffer, 72),
    "userfaultfd": (323, 282, 0), "fanotify_init": (300, 262, 0, 0), "inotify_init1": (294, 26, 0),
    "mbind": (237, 235, buffer, 4096, 0, 0, 0, 0), "set_mempolicy": (238, 237, 0, 0, 0), "get_mempolicy": (239, 236, 0, 0, 0, 0, 0),
    "setns": (308, 268, 3, 0), "unshare": (272, 97, 0x10000000), "personality": (135, 92, 0x0040000),
    "add_key": (248, 217, b"user", b"a", b"b", 1, -3), "keyctl": (250, 219, 0, -3, 0), "memfd_create": (319, 279, b"x", 0),
    "pidfd_getfd": (438, 438, 3, 0, 0), "io_uring_setup": (425, 425, 8, buffer), "quotactl_fd": (443, 443, 0, 0, 0, 0),
    "memfd_secret": (447, 447, 0), "process_madvise": (440, 440, 3, buffer, 1, 4, 0), "cachestat": (451, 451, 0, buffer, buffer, 0),
    "lsm_get_self_attr": (459, 459, 100, buffer, buffer, 0), "lsm_list_modules": (461, 461, buffer, buffer, 0),
}
if x86:
    calls |= {"iopl": (172, 0, 3), "ioperm": (173, 0, 0, 100, 1), "modify_ldt": (154, 0, 1, buffer, 16), "ustat": (136, 0, 0, buffer)}
for name, (number, other, *arguments) in calls.items():
    ready = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    if libc.syscall(ctypes.c_long(number if x86 else other), *ready) >= 0:
        hits.append(name)
print("ESCAPED:", hits) if hits else print("contained")
