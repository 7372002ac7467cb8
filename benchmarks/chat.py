"""`qwen chat` against a bare xllamacpp script: first token of a cold process, decode speed, memory.

    python benchmarks/chat.py

Starter model, greedy, the same prompt, runs taken in turn, medians.
"""

from processes import BARE, QWEN, Run, alternate, median, report

from qwen_cli.models.hub import starter

PROMPT = "Explain in detail how a hash table works."
TOKENS = 128
ROUNDS = 7


def main() -> None:
    path = str(starter.fetch())
    ours, peer = alternate(
        [*QWEN, "chat", PROMPT, "--model", "starter", "--temperature", "0", "--max-tokens", str(TOKENS)],
        [*BARE, path, PROMPT, str(TOKENS)],
        ROUNDS,
    )
    report(
        "first token, cold process",
        median([r.first for r in ours]),
        median([r.first for r in peer]),
        "s",
        "≤ 0.70",
    )
    report("decode", median([_speed(r) for r in ours]), median([_speed(r) for r in peer]), "tok/s", "≥ 0.97")
    more = median([r.peak_bytes for r in ours]) - median([r.peak_bytes for r in peer])
    print(f"peak memory over the bare script: {more / 1e6:+.0f} MB (bar ≤ 80 MB)")


def _speed(run: Run) -> float:
    return (TOKENS - 1) / (run.last - run.first)


if __name__ == "__main__":
    main()
