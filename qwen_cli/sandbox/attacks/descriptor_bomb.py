# escape: more descriptors than the limit, or pipes made large
import fcntl, os
n = 0
try:
    while n < 5000:
        r, w = os.pipe()
        n += 2
        try:
            fcntl.fcntl(w, 1031, 1 << 20)
        except OSError:
            pass
except OSError:
    pass
print("ESCAPED: %d descriptors" % n) if n > 1024 else print("contained", n)
