# escape: a double-forked child in a session of its own outlives the run
import ctypes, os, time
try:
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            ctypes.CDLL(None).prctl(15, b"qwen-canary", 0, 0, 0)
            for fd in range(64):
                try:
                    os.close(fd)
                except OSError:
                    pass
            time.sleep(120)
        os._exit(0)
except OSError:
    pass
print("spawned or refused")
