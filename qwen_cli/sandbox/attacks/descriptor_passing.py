# escape: descriptors are sent to the caller, or taken from it, over the sandbox's channel
import array, os, socket
hits = []
for fd in (3,):
    try:
        s = socket.socket(fileno=os.dup(fd))
        s.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1]))])
    except OSError:
        pass
print("contained if the caller has no more descriptors than before")
