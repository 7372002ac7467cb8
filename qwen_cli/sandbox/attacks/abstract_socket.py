# escape: an abstract unix socket of the host answers
import socket
try:
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.settimeout(1)
    s.connect("\0" + NAME)
    s.send(b"escape")
    print("ESCAPED: abstract socket")
except OSError as e:
    print("contained", e)
