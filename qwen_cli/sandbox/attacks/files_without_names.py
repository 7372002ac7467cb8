# escape: files that have no name any more hold more than the limit
# status: ok error killed timeout
# fills: a disk
import os
held, kept = 0, []
def grow(fd, fill):
    global held
    try:
        held += fill(fd)
    except OSError:
        pass
def written(fd):
    done = 0
    while done < 48:
        done += os.write(fd, b"x" * (1 << 20)) >> 20
    return done
def allocated(fd):
    os.posix_fallocate(fd, 0, 60 << 20)
    return 60
for n in range(12):
    for fill in (allocated, written):
        try:
            fd = os.open(f"f{n}", os.O_CREAT | os.O_RDWR)
            os.unlink(f"f{n}")
        except OSError:
            continue
        kept.append(fd)
        grow(fd, fill)
        if held > 300:
            print("ESCAPED: %d MB without a name" % held)
            raise SystemExit
for _ in range(4):
    try:
        fd = os.open(".", os.O_TMPFILE | os.O_RDWR)
    except OSError:
        continue
    kept.append(fd)
    grow(fd, written)
print("ESCAPED: %d MB without a name" % held) if held > 300 else print("contained", held)
