# escape: still running after the time limit although signals are ignored
# status: timeout
import signal, time
for s in range(1, 65):
    try:
        signal.signal(s, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
time.sleep(3600)
