# escape: a closed channel leaves the caller waiting
# status: killed
import os, time
for fd in range(64):
    try:
        os.close(fd)
    except OSError:
        pass
time.sleep(60)
