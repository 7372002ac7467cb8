# escape: a device of the host is opened or made
import os, stat
hits = []
for path in ("/dev/mem", "/dev/kmsg", "/dev/sda", "/dev/vda", "/dev/kvm", "/dev/fuse", "/dev/net/tun", "/dev/tty", "/dev/ptmx",
             "/dev/dri/card0", "/dev/nvidia0", "/dev/input/event0", "/dev/shm"):
    try:
        os.close(os.open(path, os.O_RDONLY))
        hits.append(path)
    except OSError:
        pass
for device in ((1, 1), (8, 0), (254, 0), (10, 232)):
    try:
        os.mknod("device", 0o600 | stat.S_IFCHR, os.makedev(*device))
        hits.append(("mknod", device))
        os.unlink("device")
    except OSError:
        pass
print("ESCAPED:", hits) if hits else print("contained")
