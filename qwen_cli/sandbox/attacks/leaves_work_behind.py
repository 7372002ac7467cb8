# escape: exit handlers, threads and timers go on when the run has ended
# status: ok error killed timeout
import atexit, os, signal, threading, time, weakref
def forge(*_):
    for fd in range(3, 32):
        try:
            os.write(fd, b'{"status": "ok", "value": "FORGED"}')
        except OSError:
            pass
    while True:
        pass
class Last:
    def __del__(self):
        forge()
last, kept = Last(), Last()
atexit.register(forge)
weakref.finalize(last, forge)
signal.signal(signal.SIGALRM, forge)
signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
threading.Thread(target=forge).start()
try:
    if os.fork() == 0:
        forge()
except OSError:
    pass
threading._register_atexit(forge) if hasattr(threading, "_register_atexit") else None
