# escape: a process that stands still is not ended, or keeps its caller waiting
# status: timeout ok
import os, signal
for s in (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGSTOP):
    try:
        os.kill(os.getpid(), s)
    except OSError:
        pass
print("contained")
