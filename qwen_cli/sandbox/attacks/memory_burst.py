# escape: many processes touch their memory in the same moment, between two looks at them
# status: memory killed error timeout ok
import mmap, os, time
at = time.monotonic() + 0.3
r, w = os.pipe()
os.set_blocking(r, False)
try:
    for _ in range(12):
        if os.fork() == 0:
            block = mmap.mmap(-1, 200 << 20, flags=mmap.MAP_PRIVATE)
            time.sleep(max(0, at - time.monotonic()))
            for start in range(0, 200 << 20, 4096):
                block[start] = 1
                if not start % (1 << 20):
                    os.write(w, b".")
            time.sleep(60)
except OSError:
    raise SystemExit(1)
time.sleep(1.1)
try:
    held = len(os.read(r, 100_000))
except OSError:
    held = 0
print("ESCAPED:" if held > 1000 else "contained", held, "MB touched at once")
