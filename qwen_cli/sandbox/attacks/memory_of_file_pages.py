# escape: written pages of files that are mapped, cut and unlinked hold more than the limit of files
# status: ok error killed memory timeout
import mmap, os
written, kept = 0, []
try:
    for number in range(40):
        with open(f"f{number}", "wb+") as file:
            file.truncate(16 << 20)
            part = mmap.mmap(file.fileno(), 16 << 20)
        os.unlink(f"f{number}")
        for at in range(0, len(part), 4096):
            part[at] = 1
        kept.append(part)
        written += len(part)
except (OSError, ValueError, MemoryError):
    pass
print(f"ESCAPED: {written >> 20} MB") if written > 512 << 20 else print("contained")
