# escape: the caller or what watches the sandbox dies or stops
import os, signal
hits = []
for pid in {os.getppid(), PARENT, TEMPLATE} - {os.getpid(), 0}:
    for s in (signal.SIGSTOP, signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(pid, s)
            hits.append((pid, s))
        except OSError:
            pass
print("ESCAPED: sent", hits) if hits else print("contained")
