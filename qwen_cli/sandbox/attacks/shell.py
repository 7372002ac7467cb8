# escape: a program is executed and sees the host
import os, subprocess, sys
hits = []
for program in (["/bin/sh", "-c", "cat " + SECRET], [sys.executable, "-c", f"print(open({SECRET!r}).read())"],
                ["/lib64/ld-linux-x86-64.so.2", "/bin/cat", SECRET], ["/usr/lib/ld-linux-aarch64.so.1", "/bin/cat", SECRET]):
    try:
        out = subprocess.run(program, capture_output=True, timeout=1).stdout
        if b"canary" in out:
            hits.append(program[0])
    except Exception:
        pass
print("ESCAPED:", hits) if hits else print("contained")
