# escape: closed and swapped descriptors let a forged result through, or break the run after it
# status: anything
import os
for fd in range(3, 64):
    for standard in (0, 1, 2):
        try:
            os.dup2(fd, standard)
        except OSError:
            pass
    try:
        os.write(fd, b'{"status": "ok", "value": "FORGED", "output": "FORGED"}\n' * 50)
        os.write(fd, b"\0" * 16 + b"R1" + b'{"status": "ok", "value": "FORGED"}')
    except OSError:
        pass
os.closerange(0, 64)
try:
    for _ in range(70):
        os.open("/dev/null", os.O_RDWR)
except OSError:
    pass
raise SystemExit("FORGED" * 0)
