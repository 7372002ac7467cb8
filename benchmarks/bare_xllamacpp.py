"""The peer: what a person writes with xllamacpp after reading its README, with its defaults.

    python benchmarks/bare_xllamacpp.py MODEL.gguf PROMPT MAX_TOKENS

Streams the answer to standard output.
"""

import sys

import xllamacpp


def main() -> None:
    path, prompt, max_tokens = sys.argv[1:]
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.verbosity = -1
    server = xllamacpp.Server(params)

    def show(chunk: dict) -> None:
        for choice in chunk.get("choices", []):
            sys.stdout.write(choice["delta"].get("content") or "")
            sys.stdout.flush()

    request = {
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": int(max_tokens),
        "temperature": 0,
        "stream": True,
    }
    server.handle_chat_completions(request, show)


if __name__ == "__main__":
    main()
