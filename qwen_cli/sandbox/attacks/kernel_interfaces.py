# escape: an interface with a history of kernel bugs can be opened
# needs: seccomp
import ctypes, platform
libc = ctypes.CDLL(None, use_errno=True)
x86 = platform.machine() == "x86_64"
hits = []
buf = ctypes.create_string_buffer(256)
for name, number in {"bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "fanotify_init": (300, 262),
                     "add_key": (248, 217), "open_by_handle_at": (304, 265), "init_module": (175, 105), "quotactl": (179, 60),
                     "io_setup": (206, 0), "memfd_secret": (447, 447), "acct": (163, 89), "swapon": (167, 224),
                     "process_madvise": (440, 440), "inotify_init1": (294, 26), "syslog": (103, 116), "vmsplice": (278, 75)}.items():
    ctypes.set_errno(0)
    result = libc.syscall(number[0 if x86 else 1], 0, buf, 0, 0, 0)
    if result >= 0 or ctypes.get_errno() not in (1, 38):
        hits.append((name, ctypes.get_errno()))
print("ESCAPED:", hits) if hits else print("contained")
