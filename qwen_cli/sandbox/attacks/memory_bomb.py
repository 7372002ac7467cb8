# escape: more than the memory limit is touched
# status: memory timeout
blocks = []
for _ in range(4096):
    blocks.append(bytearray(1 << 20))
    if len(blocks) > 1024:
        print("ESCAPED: 1 GB touched")
        break
