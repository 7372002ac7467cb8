# escape: files are made that cannot be removed, or carry attributes and rights
# needs: seccomp
import ctypes, fcntl, os, struct
hits = []
with open("file", "wb") as f:
    for request in (0x40086602, 0x40046602, 0x401C5820, 0x40049409, 0x4020940D, 0xC0185879, 0xC0045877, 0x5401 | 1 << 31):
        try:
            fcntl.ioctl(f, request, struct.pack("16I", *[0x10] * 16))
            hits.append(hex(request))
        except OSError:
            pass
for name in ("user.a", "security.capability", "trusted.a", "system.posix_acl_access"):
    try:
        os.setxattr("file", name, b"\x01\x00\x00\x02" + b"\0" * 16)
        hits.append(name)
    except OSError:
        pass
try:
    os.chown("file", 0, 0)
    hits.append("chown") if os.getuid() != 0 else None
except OSError:
    pass
try:
    os.chmod("file", 0o6777)
except OSError:
    pass
print("ESCAPED:", hits) if hits else print("contained")
