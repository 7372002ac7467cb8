# escape: alarms and handlers carry the code past the time limit
# status: timeout
import signal, time
signal.signal(signal.SIGALRM, lambda *a: signal.setitimer(signal.ITIMER_REAL, 0.01))
signal.setitimer(signal.ITIMER_REAL, 0.01)
while True:
    try:
        time.sleep(1)
    except BaseException:
        continue
