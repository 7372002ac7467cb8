"""Runs attack programs: `python drills.py NAMES LAYERS…`, each a JSON list; one drill for each list of layers
that are left out. What is about memory has the whole warmed interpreter. The others, where layers are left
out, have one without libraries: each sandbox is two forks of it, and a fork costs as much as it holds.
"""

from __future__ import annotations

import dataclasses
import json
import sys

import quiet_disk

from qwen_cli.sandbox import attack_suite, forkserver_client

WHOLE = forkserver_client._COMMAND
BARE = WHOLE.replace("warmed.main(", "warmed._FIRST = warmed._EXERCISES = warmed._LATER = ()\nwarmed.main(")


def main() -> None:
    only, *drills = map(json.loads, sys.argv[1:])
    if not any(drills):
        found = [attack_suite.run(without=without, only=only) for without in drills]
    else:
        assert BARE != WHOLE
        forkserver_client.environment = quiet_disk.environment
        whole = [name for name in only if name.startswith("memory_")]
        groups = ((BARE, [name for name in only if name not in whole]), (WHOLE, whole))
        found = [[] for _ in drills]
        for command, names in groups:
            forkserver_client._COMMAND = command
            forkserver_client.current().close()
            for verdicts, without in zip(found, drills, strict=True):
                verdicts += attack_suite.run(without=without, only=names)
    print(json.dumps([[dataclasses.asdict(verdict) for verdict in verdicts] for verdicts in found]))


if __name__ == "__main__":
    main()
