# escape: a file outside the sandbox is read
import glob, os
seen = []
for path in [SECRET, "/etc/passwd", "/etc/shadow", "/etc/hostname", "/etc/machine-id", *glob.glob("/root/.*"),
             *glob.glob("/home/*/.*"), "/proc/1/environ", "/var/log/dpkg.log", "/sys/class/dmi/id/product_name"]:
    try:
        with open(path, "rb") as f:
            if f.read(1):
                seen.append(path)
    except OSError:
        pass
print("ESCAPED: read", seen) if seen else print("contained")
