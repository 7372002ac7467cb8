# escape: processes whose parents have ended are not counted
# status: memory killed error timeout ok
import os, time
r, w = os.pipe()
os.set_blocking(r, False)
try:
    for _ in range(10):
        pid = os.fork()
        if pid == 0:
            if os.fork() == 0:
                os.setsid()
                time.sleep(0.1)
                block = bytearray(100 << 20)
                os.write(w, b".")
                time.sleep(60)
            os._exit(0)
        os.waitpid(pid, 0)
except OSError:
    raise SystemExit(1)
time.sleep(1.2)
try:
    held = 100 * len(os.read(r, 100))
except OSError:
    held = 0
print("ESCAPED:" if held > 600 else "contained", held, "MB touched")
