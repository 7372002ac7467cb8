# escape: a process whose first thread has ended runs on past the time limit
# status: timeout killed
import ctypes, platform, threading, time
libc = ctypes.CDLL(None, use_errno=True)
leave = {"x86_64": 60, "aarch64": 93}[platform.machine()]
def on():
    while True:
        time.sleep(0.01)
for _ in range(3):
    threading.Thread(target=on, daemon=True).start()
libc.syscall(ctypes.c_long(leave), ctypes.c_long(0))
