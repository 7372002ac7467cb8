# escape: the environment or memory map of a process outside is readable through /proc
import os
hits = []
try:
    pids = [p for p in os.listdir("/proc") if p.isdigit()]
except OSError:
    pids = []
for pid in [*pids, "1", str(PARENT), str(TEMPLATE)]:
    for leaf in ("environ", "mem", "maps", "cmdline"):
        try:
            with open(f"/proc/{pid}/{leaf}", "rb") as f:
                if f.read(1):
                    hits.append(f"{pid}/{leaf}")
        except OSError:
            pass
print("ESCAPED:", hits) if hits else print("contained")
