# escape: a signal to a group or to everybody reaches a process outside
import os, signal
for pid in (-1, 0, -PARENT, -TEMPLATE):
    for s in (signal.SIGSTOP, signal.SIGTERM):
        try:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.kill(pid, s) if (pid, s) != (0, signal.SIGSTOP) else None
        except OSError:
            pass
print("contained if the caller still runs")
