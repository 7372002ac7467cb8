# escape: processes whose parents have ended are not counted
# status: memory killed error timeout
import os, time
made = 0
try:
    for _ in range(10):
        pid = os.fork()
        if pid == 0:
            if os.fork() == 0:
                os.setsid()
                time.sleep(0.1)
                block = bytearray(100 << 20)
                time.sleep(60)
            os._exit(0)
        os.waitpid(pid, 0)
        made += 1
except OSError:
    raise SystemExit(1)
time.sleep(1.2)
print("ESCAPED: 1 GB touched by %d orphans" % made)
