# escape: processes whose first thread has ended hold far more than the limit together
# status: memory killed error timeout ok
import ctypes, os, platform, threading, time
libc = ctypes.CDLL(None, use_errno=True)
leave = {"x86_64": 60, "aarch64": 93}[platform.machine()]
def hold():
    time.sleep(0.05)
    block = bytearray(100 << 20)
    os.write(w, b".")
    time.sleep(60)
r, w = os.pipe()
os.set_blocking(w, False)
try:
    for _ in range(10):
        pid = os.fork()
        if pid == 0:
            threading.Thread(target=hold).start()
            libc.syscall(ctypes.c_long(leave), ctypes.c_long(0))
except OSError:
    raise SystemExit(1)
time.sleep(1.2)
os.set_blocking(r, False)
try:
    held = 100 * len(os.read(r, 100))
except OSError:
    held = 0
print("ESCAPED:" if held > 600 else "contained", held, "MB touched")
