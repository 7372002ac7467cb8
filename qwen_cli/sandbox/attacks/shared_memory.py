# escape: shared memory, semaphores or queues outside are reached or left behind
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
hits = []
if libc.shmget(KEY, 0, 0) >= 0:
    hits.append("segment of the host")
libc.shmget(KEY + 1, 4096, 0o1600)
libc.msgget(KEY + 1, 0o1600)
for name in (b"/qwen_escape",):
    if libc.mq_open(name, 0o102, 0o600, None) >= 0:
        libc.mq_unlink(name)
try:
    open("/dev/shm/qwen_escape", "w").close()
except OSError:
    pass
print("ESCAPED:", hits) if hits else print("contained if the caller finds nothing left behind")
