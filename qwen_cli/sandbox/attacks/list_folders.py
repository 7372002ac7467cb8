# escape: a folder of the host is listed
import os
seen = []
for path in ("/home", "/root", "/var", "/etc", "/proc", "/sys", "/dev", "/run", os.path.dirname(SECRET)):
    try:
        names = set(os.listdir(path)) - {"ld.so.cache", "null", "urandom"}
        names -= {"pyenv", ".pyenv", ".local"}  # on the way to the interpreter
        if names:
            seen.append((path, sorted(names)[:5]))
    except OSError:
        pass
print("ESCAPED: listed", seen) if seen else print("contained")
