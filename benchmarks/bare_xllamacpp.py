"""The peer: what a person writes with xllamacpp after reading its README.

    python benchmarks/bare_xllamacpp.py MODEL.gguf PROMPT MAX_TOKENS [CONTEXT]

Streams the answer to standard output. With a CONTEXT it has as many tokens of it as `qwen` has, and like it
does not fit itself to a GPU that is not there; else all is as the library has it by default.
"""

import sys

import xllamacpp


def main() -> None:
    path, prompt, max_tokens, *context = sys.argv[1:]
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.verbosity = -1
    if context:
        params.n_ctx = int(context[0])
        params.fit_params = False
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
