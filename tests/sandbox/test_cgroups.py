"""Where a control group is made: below a group that hands memory on, never beside a limit of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qwen_cli.sandbox import Limits, Sandbox, cgroups

V2 = "30 1 0:26 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate"
V1 = "31 1 0:27 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory"


class Tree:
    """A machine's /proc/self and control groups, in a folder."""

    def __init__(self, root: Path, mount: str, own: str) -> None:
        self.root = root
        (root / "proc").mkdir()
        (root / "proc" / "cgroup").write_text(own)
        (root / "proc" / "mountinfo").write_text(mount + "\n")
        self.top = root / mount.split()[4].lstrip("/")
        self.top.mkdir(parents=True)

    def group(self, name: str, *, limit: str | None = None, hands_on: str = "") -> None:
        path = self.top / name
        path.mkdir(parents=True, exist_ok=True)
        (path / "cgroup.procs").touch()
        (path / "cgroup.subtree_control").write_text(hands_on)
        if limit:
            (path / "memory.max").write_text(limit)

    def make(self) -> Path | None:
        made = cgroups.make(1000, self.root / "proc", self.root)
        return made.path.parent.relative_to(self.top) if made else None


def test_a_user_of_systemd_gets_one_beside_the_own(tmp_path: Path) -> None:
    tree = Tree(tmp_path, V2, "0::/user.slice/user@1000.service/app.slice/term.scope\n")
    tree.group("")
    tree.group("user.slice/user@1000.service", limit="max", hands_on="memory pids")
    tree.group("user.slice/user@1000.service/app.slice", limit="max", hands_on="cpu memory pids")
    tree.group("user.slice/user@1000.service/app.slice/term.scope", limit="max")
    assert tree.make() == Path("user.slice/user@1000.service/app.slice")
    made = tree.top / "user.slice/user@1000.service/app.slice" / f"qwen-{os.getpid()}"
    assert (made / "memory.max").read_text() == "1000"


def test_a_limit_of_its_own_is_not_left(tmp_path: Path) -> None:
    tree = Tree(tmp_path, V2, "0::/app.slice/limited.scope\n")
    tree.group("app.slice", limit="max", hands_on="memory")
    tree.group("app.slice/limited.scope", limit="1073741824")
    assert tree.make() is None


def test_what_is_handed_on_by_nobody_cannot_be_had(tmp_path: Path) -> None:
    tree = Tree(tmp_path, V2, "0::/\n")
    tree.group("", hands_on="cpu pids")
    assert tree.make() is None


def test_version_1_makes_one_below_the_own(tmp_path: Path) -> None:
    tree = Tree(tmp_path, V1, "4:memory:/jobs/mine\n3:cpu:/\n0::/\n")
    tree.group("jobs/mine")
    assert tree.make() == Path("jobs/mine")


@pytest.mark.parametrize("own", ["0::/../outside\n", "", "nonsense\n"])
def test_strange_names_give_none(own: str, tmp_path: Path) -> None:
    tree = Tree(tmp_path, V2, own)
    tree.group("", hands_on="memory")
    assert tree.make() is None


def test_a_machine_without_any_gives_none(tmp_path: Path) -> None:
    assert cgroups.make(1000, tmp_path / "missing") is None


def test_a_family_that_outgrows_its_group_has_used_too_much_memory() -> None:
    group = cgroups.make(1 << 20)
    if group is None:
        pytest.skip("this user may make none here")
    group.remove()
    code = "import os, time\nfor _ in range(6):\n    if os.fork() == 0:\n        b = bytearray(100 << 20)\n"
    code += "        time.sleep(60)\n"
    with Sandbox(Limits(memory_bytes=128 << 20)) as sandbox:
        outcome = sandbox.run(code + "time.sleep(5)")
    assert outcome.status == "memory"
    # Each is named after the process that made it; other sandboxes of this machine may be at work.
    left = [
        g
        for g in group.path.parent.glob("qwen-*")
        if not Path(f"/proc/{g.name.removeprefix('qwen-')}").exists()
    ]
    assert not left
