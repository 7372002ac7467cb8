# escape: the interpreter's own files are changed
import os, sys
hits = []
for module in ("os", "sympy", "numpy"):
    path = __import__(module).__file__
    for attempt in (lambda: open(path, "a").close(), lambda: os.rename(path, path + ".x"),
                    lambda: open(os.path.join(os.path.dirname(path), "qwen_escape.py"), "w").close(),
                    lambda: os.chmod(path, 0o644)):
        try:
            attempt()
            hits.append(path)
        except OSError:
            pass
print("ESCAPED:", hits) if hits else print("contained")
