"""Limits of the groups that a process is in, as the kernel writes them: containers, services, scopes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qwen_cli.engines.llamacpp import load as llamacpp_load
from qwen_cli.engines.transformers import device
from qwen_cli.models.planning import cgroups, hardware

GB = 10**9
Put = Callable[..., None]


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Put:
    """Say in which groups this process is, how their trees are mounted, and what is written in them."""

    def write(groups: str, mounts: str, files: dict[str, object]) -> None:
        proc = tmp_path / "proc"
        proc.mkdir()
        (proc / "cgroup").write_text(groups)
        (proc / "mountinfo").write_text(mounts.replace("@", str(tmp_path)))
        for name, content in files.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{content}\n")
        monkeypatch.setattr(cgroups, "_PROC", proc)

    return write


V2 = "30 20 0:26 / @/fs rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"


def v1(controllers: str, root: str = "/") -> str:
    place = controllers.split(",")[0]
    return f"32 31 0:29 {root} @/{place} rw,relatime - cgroup cgroup rw,{controllers}\n"


class TestVersion2:
    @pytest.mark.parametrize(
        ("files", "most"),
        [
            ({}, None),
            ({"fs/a/b/memory.max": "max", "fs/a/memory.max": "max"}, None),
            ({"fs/a/b/memory.max": 4 * GB}, 4 * GB),
            ({"fs/a/memory.max": 3 * GB, "fs/a/b/memory.max": 4 * GB}, 3 * GB),  # what is around it holds
            ({"fs/memory.max": 2 * GB, "fs/a/b/memory.max": "max"}, 2 * GB),  # a container's own root
            ({"fs/a/b/memory.high": 5 * GB, "fs/a/b/memory.max": 6 * GB}, 5 * GB),
            ({"fs/a/b/memory.max": 6 * GB, "fs/a/memory.high": 1 * GB}, 1 * GB),
            ({"fs/other/memory.max": 1, "fs/a/b/c/memory.max": 1}, None),  # of others, or inside of it
        ],
    )
    def test_the_least_limit_around_it_holds(
        self, put: Put, files: dict[str, object], most: int | None
    ) -> None:
        put("0::/a/b\n", V2, {"fs/a/b/cgroup.procs": 1, **files})
        assert cgroups.memory() == most

    def test_what_others_in_a_group_use_is_not_free_and_what_they_have_read_is(self, put: Put) -> None:
        stat = f"anon {6 * GB}\nfile {3 * GB}\ninactive_file {2 * GB}\nactive_file {1 * GB}"
        files = {
            "fs/a/b/memory.max": 8 * GB, "fs/a/b/memory.current": 1 * GB,
            "fs/a/memory.max": 10 * GB, "fs/a/memory.current": 9 * GB, "fs/a/memory.stat": stat,
        }  # fmt: skip
        put("0::/a/b\n", V2, files)
        assert cgroups.memory() == 8 * GB
        assert cgroups.free_memory() == 4 * GB  # 7 in its own, but 10 - (9 - 3) around it

    def test_a_group_that_is_over_its_limit_has_nothing_left(self, put: Put) -> None:
        put("0::/a\n", V2, {"fs/a/memory.high": GB, "fs/a/memory.current": 2 * GB})
        assert cgroups.free_memory() == 0

    @pytest.mark.parametrize(
        ("files", "share"),
        [
            ({}, None),
            ({"fs/a/b/cpu.max": "max 100000"}, None),
            ({"fs/a/b/cpu.max": "150000 100000"}, 1.5),
            ({"fs/a/b/cpu.max": "400000 100000", "fs/a/cpu.max": "50000 20000"}, 2.5),
            ({"fs/cpu.max": "20000 100000"}, 0.2),
            ({"fs/a/cpu.max": "nonsense"}, None),
        ],
    )
    def test_the_least_time_around_it_holds(
        self, put: Put, files: dict[str, object], share: float | None
    ) -> None:
        put("0::/a/b\n", V2, {"fs/a/b/cgroup.procs": 1, **files})
        assert cgroups.cores() == share

    def test_a_scope_of_systemd_run_is_deep_in_a_slice(self, put: Put) -> None:
        scope = "user.slice/user-1000.slice/user@1000.service/app.slice/run-u7.scope"
        put(f"0::/{scope}\n", V2, {f"fs/{scope}/memory.max": GB, "fs/user.slice/cpu.max": "300000 100000"})
        assert (cgroups.memory(), cgroups.cores()) == (GB, 3)

    def test_a_process_outside_of_its_namespace_has_what_is_mounted(self, put: Put) -> None:
        put("0::/../../other\n", V2, {"fs/memory.max": GB})
        assert cgroups.memory() == GB

    def test_a_space_in_a_path_is_written_as_a_number(self, put: Put) -> None:
        put("0::/my box\n", V2.replace("fs", r"my\040fs"), {"my fs/my box/memory.max": GB})
        assert cgroups.memory() == GB


class TestVersion1:
    GROUPS = "9:name=systemd:/\n4:memory:/docker/x\n1:cpu,cpuacct:/docker/x\n0::/\n"

    def test_the_least_limit_around_it_holds(self, put: Put) -> None:
        files = {
            "memory/docker/memory.limit_in_bytes": 6 * GB,
            "memory/docker/memory.usage_in_bytes": 5 * GB,
            "memory/docker/memory.stat": f"total_inactive_file {GB}\ninactive_file 7",
            "memory/docker/x/memory.limit_in_bytes": 9223372036854771712,
            "memory/docker/x/memory.usage_in_bytes": 1 * GB,
            "cpu/docker/cpu.cfs_quota_us": 250000, "cpu/docker/cpu.cfs_period_us": 100000,
            "cpu/docker/x/cpu.cfs_quota_us": -1, "cpu/docker/x/cpu.cfs_period_us": 100000,
        }  # fmt: skip
        put(self.GROUPS, v1("memory") + v1("cpu,cpuacct"), files)
        assert (cgroups.memory(), cgroups.free_memory(), cgroups.cores()) == (6 * GB, 2 * GB, 2.5)

    def test_a_container_sees_its_own_group_as_the_root(self, put: Put) -> None:
        files = {"memory/memory.limit_in_bytes": 3 * GB, "memory/memory.usage_in_bytes": 1 * GB}
        put(self.GROUPS, v1("memory", "/docker/x"), files)
        assert (cgroups.memory(), cgroups.free_memory()) == (3 * GB, 2 * GB)

    def test_names_of_the_host_lead_nowhere_in_a_container(self, put: Put) -> None:
        put(self.GROUPS, v1("memory", "/elsewhere"), {"memory/memory.limit_in_bytes": 3 * GB})
        assert cgroups.memory() == 3 * GB

    def test_a_limit_around_a_container_in_a_container_is_told_by_the_kernel(self, put: Put) -> None:
        files = {
            "memory/memory.limit_in_bytes": 9223372036854771712,
            "memory/memory.stat": f"cache 1\nhierarchical_memory_limit {2 * GB}",
        }
        put("4:memory:/\n", v1("memory"), files)
        assert cgroups.memory() == 2 * GB

    def test_no_limit_is_none(self, put: Put) -> None:
        files = {"memory/memory.limit_in_bytes": 9223372036854771712, "cpu/cpu.cfs_quota_us": -1}
        put("4:memory:/\n1:cpu:/\n", v1("memory") + v1("cpu"), files)
        assert (cgroups.memory(), cgroups.free_memory(), cgroups.cores()) == (None, None, None)

    def test_both_versions_at_once_both_count(self, put: Put) -> None:
        files = {"memory/docker/x/memory.limit_in_bytes": 5 * GB, "fs/cpu.max": "100000 100000"}
        put(self.GROUPS, v1("memory") + V2, files)
        assert (cgroups.memory(), cgroups.cores()) == (5 * GB, 1)


@pytest.mark.parametrize(("groups", "mounts"), [("", ""), ("0::\n:::\nx", "- -\n1 2 3 - cgroup2\n")])
def test_where_there_are_no_groups_nothing_is_limited(put: Put, groups: str, mounts: str) -> None:
    put(groups, mounts, {})
    assert (cgroups.memory(), cgroups.free_memory(), cgroups.cores()) == (None, None, None)


class TestWhatFollows:
    @pytest.fixture(autouse=True)
    def one_core_and_half_a_gigabyte(self, put: Put) -> None:
        files = {
            "fs/a/memory.max": GB, "fs/a/memory.current": GB // 2, "fs/cpu.max": "60000 100000",
        }  # fmt: skip
        put("0::/a\n", V2, files)

    def test_the_machine_is_as_small(self, fresh: Path) -> None:
        machine = hardware.this_machine()
        assert (machine.memory, machine.free, machine.cores) == (GB, GB - GB // 2, 1)

    def test_engines_compute_with_as_few_threads(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(llamacpp_load.os, "cpu_count", lambda: 8)
        assert llamacpp_load._allowed_cores() == 1
        told: list[int] = []
        torch: Any = SimpleNamespace(get_num_threads=lambda: 8, set_num_threads=told.append)
        device.hold_threads(torch)
        assert told == [1]
        device.hold_threads(SimpleNamespace(get_num_threads=lambda: 1, set_num_threads=told.append))
        assert told == [1]
