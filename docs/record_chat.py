"""Write the transcript in chat.md: a real conversation with the starter model, as tmux shows it.

    python docs/record_chat.py

Needs tmux, and the starter model (fetched once if it is not there). Sessions go to a temporary folder.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PAGE = Path(__file__).with_name("chat.md")
BEGIN, END = "<!-- transcript: docs/record_chat.py -->", "<!-- end of transcript -->"
NAME = "qwen-chat-recording"
SECONDS = 180  # to wait for anything, at most
CHAT = "qwen chat --model starter --temperature 0"


def main() -> None:
    from qwen_cli.models.hub import starter

    model = starter.fetch()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "models").mkdir()
        (home / "models" / "starter").symlink_to(model.parent)
        shell = home / "bash.rc"
        shell.write_text(f"PS1='$ '\nPATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH\n")
        os.environ |= {"QWEN_HOME": str(home), "QWEN_CONFIG": str(home / "config.toml"), "NO_COLOR": "1"}
        tmux("new-session", "-d", "-x", "88", "-y", "200", f"bash --noprofile --rcfile {shell} -i")
        try:
            transcript = converse()
        finally:
            tmux("kill-server")
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    PAGE.write_text(f"{before}{BEGIN}\n```text\n{transcript}\n```\n{END}{after}", encoding="utf-8")


def converse() -> str:
    """Hold the conversation; the screen at its end."""
    wait(r"\$ ?$")
    send(CHAT, "Enter")
    wait(r"\n>$")
    send('"""Write a Python function with this signature,', "Enter")
    send("def is_prime(n: int) -> bool", "Enter")
    send('and nothing else."""', "Enter")
    wait(r"```\n(.*\n)*>$")
    send("Now write a long story about a ship that sails round the world.", "Enter")
    wait(r"round the world\.\n+(.*\n){3}")
    send("C-c")
    wait(r"stopped\n>$")
    send("/set max_tokens 40", "Enter")
    wait(r"max_tokens 40\n>$")
    send("/retry", "Enter")
    wait(r"the answer was cut.*\n>$")
    send("/save primes", "Enter")
    wait(r"saved as primes.*\n>$")
    send("/quit", "Enter")
    wait(r"--continue`\n\$ ?$")
    send(f"{CHAT} --continue", "Enter")
    wait(r"session primes.*\n(.*\n)?>$")
    send("What was the function called? Only its name.", "Enter")
    wait(r"Only its name\.\n+.+\n(.*\n)*>$")
    send("/stats", "Enter")
    wait(r"answer: .*\n>$")
    send("C-d")
    wait(r"--continue`\n\$ ?$")
    return screen().removesuffix("\n$").rstrip()


def screen() -> str:
    """What is on the screen, without the bar at the bottom and blank rows."""
    rows = [row.rstrip() for row in tmux("capture-pane", "-p").rstrip("\n").split("\n")]
    rows = [row for row in rows if not re.match(r"starter · llamacpp", row)]
    return "\n".join(rows).rstrip("\n")


def send(*keys: str) -> None:
    for key in keys:
        special = key in ("Enter", "C-c", "C-d")
        tmux("send-keys", *([] if special else ["-l"]), key)
        time.sleep(0.2)


def wait(pattern: str) -> None:
    """Until the screen ends as `pattern` says."""
    end = time.monotonic() + SECONDS
    while not re.search(pattern, screen()):
        if time.monotonic() > end:
            raise SystemExit(f"no {pattern!r} on\n{screen()}")
        time.sleep(0.1)


def tmux(*arguments: str) -> str:
    """A tmux server of our own, so that nobody's settings or sessions are touched."""
    command = ["tmux", "-L", NAME, "-f", "/dev/null", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
