# escape: a child that keeps the output open keeps the caller waiting
import os, time
try:
    if os.fork() == 0:
        time.sleep(60)
except OSError:
    pass
print("done")
