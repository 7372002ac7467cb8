# escape: a file outside is cut, renamed, or gets another mode, time or owner
import os
hits = []
for name, call in {
    "truncate": lambda: os.truncate(SECRET, 0),
    "chmod": lambda: os.chmod(SECRET, 0o777),
    "utime": lambda: os.utime(SECRET, (1, 1)),
    "chown": lambda: os.chown(SECRET, 12345, 12345),
    "rename": lambda: os.rename(SECRET, SECRET + "2"),
    "unlink": lambda: os.unlink(SECRET),
    "xattr": lambda: os.setxattr(SECRET, "user.a", b"b"),
    "append": lambda: open(SECRET, "a").write("x"),
}.items():
    try:
        call()
        hits.append(name)
    except OSError:
        pass
print("ESCAPED:", hits) if hits else print("contained")
