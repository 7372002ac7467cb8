# escape: what is printed is taken for something else than text
import os, sys
sys.stdout = sys.stderr = None
os.write(1, b"\x00\xff\xfe" * 1000 + bytes(range(256)))
os.write(2, b'{"status": "ok", "value": "FORGED"}')
sys.exit(0)
