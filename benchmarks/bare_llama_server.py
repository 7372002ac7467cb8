"""The peer: a llama-server that is started for one question, as in its README.

    python benchmarks/bare_llama_server.py PROGRAM MODEL.gguf PROMPT MAX_TOKENS CONTEXT

Streams the answer to standard output and ends the server. Standard library only: nothing else is imported.
"""

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request


def main() -> None:
    program, path, prompt, max_tokens, context = sys.argv[1:]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [program, "-m", path, "--port", str(port), "-c", context, "-fit", "off"]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait(port, server)
        ask(port, prompt, int(max_tokens))
    finally:
        server.kill()
        server.wait()


def wait(port: int, server: subprocess.Popen) -> None:
    while server.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.01)
    raise SystemExit(f"the server ended with {server.returncode}")


def ask(port: int, prompt: str, max_tokens: int) -> None:
    request = {
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": max_tokens,
        "temperature": 0,
        "stream": True,
    }
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        json.dumps(request).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(asked) as answer:
        for line in answer:
            if line.startswith(b"data: {"):
                for choice in json.loads(line[6:])["choices"]:
                    sys.stdout.write(choice["delta"].get("content") or "")
                    sys.stdout.flush()


if __name__ == "__main__":
    main()
