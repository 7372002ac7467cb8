# escape: /proc leads to the host's files, descriptors or settings
import os
hits = []
for path in ("/proc/self/root/etc/passwd", "/proc/1/root/etc/passwd", "/proc/self/cwd/../../etc/passwd",
             f"/proc/{PARENT}/root/etc/passwd", f"/proc/{PARENT}/environ", "/proc/thread-self/environ"):
    try:
        open(path, "rb").read(1)
        hits.append(path)
    except OSError:
        pass
for path in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/self/oom_score_adj", "/sys/kernel/uevent_helper"):
    try:
        os.close(os.open(path, os.O_WRONLY))
        hits.append(path)
    except OSError:
        pass
print("ESCAPED:", hits) if hits else print("contained")
