# escape: the kernel is made to send a signal to a process outside
import fcntl, os
r, w = os.pipe()
hits = []
for pid in (PARENT, TEMPLATE):
    try:
        fcntl.fcntl(r, 8, pid)
        fcntl.fcntl(r, 10, 9)
        fcntl.fcntl(r, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
        os.write(w, b"x")
    except OSError:
        pass
print("contained if the caller still runs")
