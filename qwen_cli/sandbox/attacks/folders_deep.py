# escape: folders in folders, deeper than a path can say, hide what is in them or cannot be removed
# status: ok error killed timeout
import os, time
held = depth = 0
try:
    while depth < 1500:
        os.mkdir("d" * 200)
        os.chdir("d" * 200)
        depth += 1
        if depth % 50 == 0:
            with open("file", "wb") as f:
                for _ in range(20):
                    held += f.write(b"x" * (1 << 20)) >> 20
except OSError:
    pass
time.sleep(0.3)
print("ESCAPED: %d MB in %d folders" % (held, depth)) if held > 200 else print("contained", held, depth)
