"""Where a completion ends: the right middle alone, and with a run-on, at places in many languages. No model.

    python benchmarks/fim_places.py [FILE ...]

An engine says the right middle and ends, or says it, then the rest of the file and forty lines of another. A
middle counts where exactly it is inserted. The places are those of the tests; with FILEs also random holes in
them: within a line, over lines, whole lines, to the end of a line, from an indentation on, of 15 to 45
lines. Something is left after each.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.helpers.fim_places import Place, filled, places, run_on  # noqa: E402

HOLES = 8


def main() -> None:
    tell("places of the tests", places())
    for held in (False, True):
        name = "held out" if held else "tuned on"
        tell(f"- {name}", [place for place in places() if place.heldout == held])
    for name in sys.argv[1:]:
        tell(name, list(holes(Path(name))))


def tell(name: str, chosen: list[Place] | tuple[Place, ...]) -> None:
    """Print how many middles came through exactly."""
    alone = [place for place in chosen if filled(place, place.middle) != place.middle]
    longer = [place for place in chosen if filled(place, run_on(place), "length") != place.middle]
    total = len(chosen)
    print(f"{name}: {total} places, alone {share(alone, total)}, run-on {share(longer, total)}")
    for way, lost in (("alone", alone), ("run-on", longer)):
        for place in lost:
            print(f"  {way}: {place.path}, {place.kind}, after line {place.prefix.count(chr(10)) + 1}")


def share(lost: list[Place], total: int) -> str:
    return f"{total - len(lost)} ({(total - len(lost)) / max(total, 1):.1%})"


def holes(path: Path) -> Iterator[Place]:
    """Cut some holes of each shape into a file, the same ones each time."""
    text = path.read_text("utf-8").replace("\r\n", "\n")
    chance = random.Random(path.name)
    for shape in ("span", "lines", "line", "end", "block", "long"):
        for _ in range(HOLES):
            start = chance.randrange(len(text) * 9 // 10)
            if shape == "span":
                end = min(len(text) - 1, start + chance.randrange(4, 200))
            elif shape == "end":
                end = text.find("\n", start)
            else:
                start = text.rfind("\n", 0, start) + 1
                end = start
                count = {"line": 1, "long": chance.randrange(15, 45)}.get(shape, chance.randrange(2, 16))
                for _ in range(count):
                    end = text.find("\n", end) + 1 or len(text)
                if shape == "block":
                    start += len(text[start:]) - len(text[start:].lstrip(" \t"))
                    end -= 1
            if text[start:end].strip() and text[end:].strip():
                language = path.suffix.lstrip(".")
                yield Place(path.name, language, shape, False, text[:start], text[start:end], text[end:])


if __name__ == "__main__":
    main()
