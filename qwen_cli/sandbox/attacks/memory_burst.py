# escape: many processes touch their memory in the same moment, between two looks at them
# status: memory killed error timeout
import mmap, os, time
at = time.monotonic() + 0.3
made = 0
try:
    for _ in range(12):
        if os.fork() == 0:
            block = mmap.mmap(-1, 200 << 20, flags=mmap.MAP_PRIVATE)
            time.sleep(max(0, at - time.monotonic()))
            for start in range(0, 200 << 20, 4096):
                block[start] = 1
            time.sleep(60)
        made += 1
except OSError:
    raise SystemExit(1)
time.sleep(1.1)
print("ESCAPED: 2.4 GB touched by %d processes" % made)
