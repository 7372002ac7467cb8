# escape: what is written to standard error, or to descriptors that lead to it, is kept without a limit
# status: killed timeout
import os, threading
os.dup2(2, 9)
block = b"\x1b]0;x\x07" * 16384
def flood(fd):
    while True:
        os.write(fd, block)
for fd in (2, 9, 1):
    threading.Thread(target=flood, args=(fd,), daemon=True).start()
flood(2)
