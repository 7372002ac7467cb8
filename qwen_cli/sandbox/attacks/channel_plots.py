# escape: thousands of plots, or plots that are no pictures, reach the caller
# reports: anything
import os, struct, sys, zlib
frame, token = sys._getframe(), None
while frame and token is None:
    if isinstance(frame.f_locals.get("token"), bytes):
        token = frame.f_locals["token"]
    frame = frame.f_back
def chunk(kind, data=b""):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
picture = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
picture += chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND")
for _ in range(200):
    os.write(3, token + b"P." + picture)
for _ in range(2000):
    os.write(3, token + b"P.")
print("ESCAPED: 200 pictures and 2,000 of no bytes were taken")
