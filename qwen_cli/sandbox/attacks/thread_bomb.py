# escape: more threads than the limit
# status: ok error killed
import threading, time
threading.stack_size(64 << 10)
n = 0
try:
    for _ in range(500):
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        n += 1
except RuntimeError:
    pass
time.sleep(0.3)
print("ESCAPED: %d threads" % n) if n > 64 else print("contained", n)
