# escape: more than the limit is written to files
# status: error killed
# fills: a disk
import os
n = 0
for i in range(40):
    with open(f"fill{i}", "wb") as f:
        for _ in range(8):
            f.write(b"x" * (1 << 20))
            n += 1
print("ESCAPED: wrote", n, "MB") if n > 200 else None
