"""A llama-server that computes nothing: says what a real one says, and answers with the words "a b c".

What goes wrong is said in FAKE_LLAMA_SERVER: "fails", "dies" (in the middle of an answer), "chatters",
"refuses", "slow" (an endless answer), "old" (few flags), "gpu", "avx2".
"""

from __future__ import annotations

import json
import os
import stat
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

DOES = os.environ.get("FAKE_LLAMA_SERVER", "")
FLAGS = """\
-h,    --help
-c,    --ctx-size N                     size of the prompt context
-b,    --batch-size N    -ub,   --ubatch-size N     -np, --parallel N
--host HOST  --port PORT  -m, --model FNAME  --slot-save-path PATH  --jinja, --no-jinja
"""
MORE = """\
-kvu,  --kv-unified, -no-kvu, --no-kv-unified
-t, --threads N   --threads-http N  -fit, --fit [on|off]  -cram, --cache-ram N  --no-warmup
--spec-type none,draft-simple  --spec-ngram-simple-size-n N --spec-ngram-simple-size-m N
-ctk, --cache-type-k TYPE -ctv, --cache-type-v TYPE -fa, --flash-attn [on|off|auto]
-mm, --mmproj FILE   --lora FNAME   -ot, --override-tensor P
"""


def main(arguments: list[str]) -> int:
    if "--version" in arguments:
        print("version: 11549 (abc1234)\nbuilt with GNU 12.2.0 for Linux x86_64", file=sys.stderr)
        return 0
    if "--help" in arguments:
        print(FLAGS + ("" if DOES == "old" else MORE))
        return 0
    if "--list-devices" in arguments:
        print("Available devices:")
        print("  CUDA0: NVIDIA RTX 4090 (24217 MiB, 23000 MiB free)" if DOES == "gpu" else "  (none)")
        return 0
    wide = "" if DOES == "avx2" else "AVX512 = 1 | AVX512_VNNI = 1 | "
    say(f"0.00.020 I system_info: n_threads = 2 / 2 | CPU : AVX2 = 1 | {wide}AMX_INT8 = 0 |")
    model, port = (arguments[arguments.index(flag) + 1] for flag in ("--model", "--port"))
    if DOES == "fails" or not Path(model).exists():
        say("0.00.030 E llama_model_load: error loading model: tensor 'blk.0.ffn' is not within the file")
        say("0.00.040 E srv    load_model: failed to load model")
        say("0.00.050 I srv    operator(): cleaning up before exit...")
        return 1
    if DOES == "chatters":
        for number in range(1_000):
            say(f"{number} " + "x" * 1_000)
    server = ThreadingHTTPServer(("127.0.0.1", int(port)), Handler)
    say(f"0.00.060 I srv  llama_server: listening on http://127.0.0.1:{port}")
    server.serve_forever()
    return 0


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None: ...

    def do_GET(self) -> None:
        self.send({"status": "ok", "pid": os.getpid()})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers.get("Authorization") != f"Bearer {os.environ['LLAMA_API_KEY']}":
            self.send({"error": {"message": "Invalid API Key", "type": "authentication_error"}}, 401)
        elif DOES == "refuses":
            self.send({"error": {"message": "no such sampler", "type": "invalid_request_error"}}, 400)
        elif not self.path.endswith("completions"):
            self.send({"tokens": [1, 2, 3], "asked": body})
        else:
            self.answer()

    def answer(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        words = ["a", " b", " c"] if DOES != "slow" else ["a"] * 2_000
        for number, word in enumerate(words):
            last = number == len(words) - 1
            choice = {"index": 0, "text": word, "finish_reason": "stop" if last else None}
            self.event({"choices": [choice], "timings": {"predicted_n": number + 1}})
            if DOES == "dies":
                say("0.01.000 E ggml_cuda: CUDA error: out of memory")
                os._exit(134)
            if DOES == "slow":
                time.sleep(0.005)
        self.wfile.write(b": ping\n\ndata: [DONE]\n\n")

    def event(self, chunk: object) -> None:
        try:
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        except OSError:
            say("0.02.000 I srv    stop: cancel task")
            raise SystemExit from None

    def send(self, answer: object, status: int = 200) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())


def put(folder: Path, name: str = "llama-server") -> Path:
    """Put the program into `folder`, ready to start."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!{sys.executable}\n" + Path(__file__).read_text("utf-8"), "utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
