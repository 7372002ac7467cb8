# escape: interfaces of the host are seen, or a raw, packet, vsock or bluetooth socket is made
import socket
hits = []
try:
    names = [n for _, n in socket.if_nameindex() if n != "lo"]
    if names:
        hits.append(names)
except OSError:
    pass
for family, kind, protocol in ((17, 3, 0x300), (2, 3, 1), (40, 1, 0), (31, 3, 1), (38, 5, 0)):
    try:
        s = socket.socket(family, kind, protocol)
        if family == 17:
            s.settimeout(0.2)
            s.recv(100)
        if family == 40:
            s.settimeout(0.2)
            s.connect((2, 1))
        if family != 38:
            hits.append(family)
    except OSError:
        pass
print("ESCAPED: sockets", hits) if hits else print("contained")
