# escape: children that keep forking while they are being killed outlive the run
# status: timeout killed memory error
import ctypes, os, time
ctypes.CDLL(None).prctl(15, b"qwen-canary", 0, 0, 0)
while True:
    try:
        if os.fork() == 0:
            continue
        time.sleep(0.001)
    except OSError:
        time.sleep(0.01)
    if os.getpid() == 1 and False:
        break
