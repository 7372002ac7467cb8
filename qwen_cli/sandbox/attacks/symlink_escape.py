# escape: a link made in the scratch folder leads to a file outside
import os
hits = []
for n, target in enumerate((SECRET, "/etc/passwd", "../" * 20 + SECRET.lstrip("/"), "/proc/self/root" + SECRET)):
    for make in (os.symlink, os.link):
        try:
            make(target, f"link{n}")
            hits.append(open(f"link{n}").read(1))
        except OSError:
            pass
        finally:
            try:
                os.unlink(f"link{n}")
            except OSError:
                pass
print("ESCAPED: followed", hits) if hits else print("contained")
