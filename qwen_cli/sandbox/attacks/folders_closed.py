# escape: what is in folders that only their owner's files can be reached in is neither counted nor removed
# status: ok error killed timeout
import os, time
held = 0
try:
    os.umask(0)
except OSError:
    pass
for n, mode in enumerate((0o300, 0o100, 0o311, 0o333, 0o377, 0o077)):
    try:
        os.mkdir(f"c{n}", mode)
        for m in range(3):
            with open(f"c{n}/f{m}", "wb") as f:
                for _ in range(30):
                    held += f.write(b"x" * (1 << 20)) >> 20
    except OSError:
        pass
try:
    os.umask(0o777)
    os.mkdir("masked", 0o777)
except OSError:
    pass
time.sleep(0.3)
print("ESCAPED: %d MB unseen" % held) if held > 200 else print("contained", held)
