# escape: a connection to the host works, or a datagram arrives, loopback included
import socket
hits = []
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
    try:
        s = socket.socket(socket.AF_INET, kind)
        s.settimeout(1)
        s.connect(("127.0.0.1", PORT))
        s.send(b"escape")
        hits.append(kind)
    except OSError:
        pass
print("ESCAPED: network", hits) if hits else print("contained")
