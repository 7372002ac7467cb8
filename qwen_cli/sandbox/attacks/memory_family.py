# escape: processes that each stay under the limit hold far more than it together
# status: memory killed error timeout
import os, time
pids = []
try:
    for _ in range(12):
        pid = os.fork()
        if pid == 0:
            block = bytearray(100 << 20)
            time.sleep(60)
        pids.append(pid)
except OSError:
    raise SystemExit(1)
time.sleep(1.2)
print("ESCAPED: 1.2 GB touched by %d processes" % len(pids))
