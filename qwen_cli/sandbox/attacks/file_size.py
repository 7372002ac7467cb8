# escape: one file grows past the limit
# status: error killed
# fills: a disk
with open("big", "wb") as f:
    for _ in range(300):
        f.write(b"x" * (1 << 20))
print("ESCAPED: 300 MB")
