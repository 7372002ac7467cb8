# escape: processes whose first thread has ended hold far more than the limit together
# status: memory killed error timeout
import ctypes, os, platform, threading, time
libc = ctypes.CDLL(None, use_errno=True)
leave = {"x86_64": 60, "aarch64": 93}[platform.machine()]
def hold():
    time.sleep(0.05)
    block = bytearray(100 << 20)
    time.sleep(60)
pids = []
try:
    for _ in range(10):
        pid = os.fork()
        if pid == 0:
            threading.Thread(target=hold).start()
            libc.syscall(ctypes.c_long(leave), ctypes.c_long(0))
        pids.append(pid)
except OSError:
    raise SystemExit(1)
time.sleep(1.2)
print("ESCAPED: 1 GB touched by %d processes" % len(pids))
