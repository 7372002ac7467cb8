# escape: more than 64 processes at once, or any alive after the run
# status: ok killed timeout
import ctypes, os, time
n = 0
try:
    for _ in range(300):
        if os.fork() == 0:
            ctypes.CDLL(None).prctl(15, b"qwen-canary", 0, 0, 0)
            time.sleep(60)
            os._exit(0)
        n += 1
except OSError:
    pass
print("ESCAPED: %d processes" % n) if n > 64 else print("contained", n)
