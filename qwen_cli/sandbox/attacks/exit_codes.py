# escape: an exit code that is none reaches the caller
# reports: anything
import json, os, sys
frame, token = sys._getframe(), None
while frame and token is None:
    if isinstance(frame.f_locals.get("token"), bytes):
        token = frame.f_locals["token"]
    frame = frame.f_back
os.write(3, token + b"R." + json.dumps({"status": "ok", "value": None, "exit": 10**300}).encode())
