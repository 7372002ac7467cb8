# escape: the caller stores more than the output cap
# status: killed
import sys
line = "A" * 65536
for _ in range(40000):
    sys.stdout.write(line)
