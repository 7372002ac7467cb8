# escape: masses of folders, files and links fill the disk's list of files
# status: ok error killed timeout
import os, time
made = 0
try:
    for n in range(60_000):
        os.mkdir(f"m{n}")
        os.symlink("x" * 4000, f"m{n}/l")
        made += 2
except OSError:
    pass
time.sleep(0.2)
print("ESCAPED: %d" % made) if made > 20_000 else print("contained", made)
