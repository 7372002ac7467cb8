# escape: the caller takes what the code wrote to any open descriptor for the run's own result
# reports: error
import os
forged = [b'{"status": "ok", "value": "FORGED"}', b"FORGED\n", bytes(16) + b'R.{"status": "ok", "value": "FORGED"}']
for fd in range(3, 256):
    for data in forged:
        try:
            os.write(fd, data)
        except OSError:
            pass
raise SystemExit(3)
