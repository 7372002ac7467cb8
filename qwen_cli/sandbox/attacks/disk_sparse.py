# escape: files with holes are filled through memory past the limit
# status: ok error killed timeout
# fills: a disk
import mmap, os
filled = 0
for n in range(8):
    with open(f"sparse{n}", "w+b") as f:
        f.truncate(60 << 20)
        try:
            with mmap.mmap(f.fileno(), 60 << 20) as held:
                for start in range(0, 60 << 20, 4096):
                    held[start] = 1
                filled += 60
        except (OSError, ValueError):
            pass
print("ESCAPED: %d MB" % filled) if filled > 200 else print("contained", filled)
