"""Every attack program, as whoever runs the tests and as an ordinary user; fallbacks with layers left out."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import quiet_disk

from qwen_cli.sandbox import attack_suite, probe

HELPERS = Path(__file__).parents[1] / "helpers"
# A fallback is weaker in a known way: these reach for what the missing layer held.
FALLBACK = (
    "abstract_socket",
    "caller_in_memory",
    "change_secret",
    "channel_kinds",
    "channel_plots",
    "clone_odd",
    "daemon",
    "descriptors_left",
    "disk_sparse",
    "exit_codes",
    "files_fallocate",
    "files_without_names",
    "first_thread_leaves",
    "flood_on_errors",
    "folders_closed",
    "folders_deep",
    "folders_many",
    "futex_priority",
    "hard_links",
    "high_bits",
    "immutable_files",
    "inherited_descriptors",
    "kill_parent",
    "layers_again",
    "leaves_work_behind",
    "limits_raised",
    "machine_control",
    "memory_bomb",
    "memory_burst",
    "memory_family",
    "memory_first_thread_ended",
    "memory_given_back",
    "memory_huge_pages",
    "memory_moved",
    "memory_of_file_pages",
    "memory_orphans",
    "memory_shared_files",
    "memory_shared_unmapped",
    "mount_new_calls",
    "network",
    "open_by_handle",
    "others_told_apart",
    "own_switches",
    "pipes_hoard",
    "priority_raised",
    "prlimit_others",
    "process_group_signal",
    "process_memory_written",
    "ptrace",
    "read_secrets",
    "renamed_over",
    "shared_memory",
    "shell",
    "signals_queued",
    "signals_to_others_by_fcntl",
    "sockets_odd",
    "special_files",
    "stops_itself",
    "streams_swapped",
    "symlink_escape",
    "texts_odd",
    "thread_bomb",
    "truncate_readonly",
    "write_outside",
)

as_root = pytest.param("root", marks=pytest.mark.skipif(os.geteuid() != 0, reason="the tests run as a user"))
identities = pytest.mark.parametrize("identity", [as_root, "user"])


# Layers that are left out.
WITHOUT = (
    ("namespaces",),
    ("namespaces", "landlock 3"),  # before that Landlock does not know cutting files
    ("landlock",),
    ("seccomp",),
    ("landlock", "seccomp"),
)
Verdicts = dict[str, dict[str, Any]]


def drills(identity: str, only: Sequence[str], *without: Sequence[str]) -> list[Verdicts]:
    """What became of the attacks with each of `without` left out, one after the other in a process of
    `identity`."""
    command = [sys.executable, str(HELPERS / "drills.py"), json.dumps(only), *map(json.dumps, without)]
    if identity == "user" and os.geteuid() == 0:
        command = [sys.executable, str(HELPERS / "ordinary.py"), *command]
    environment = dict(os.environ)
    if any(without) and (place := quiet_disk.folder()):
        environment["TMPDIR"] = place
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return [{verdict["name"]: verdict for verdict in verdicts} for verdicts in json.loads(done.stdout)]


@functools.cache
def with_every_layer(identity: str) -> Verdicts:
    """What became of all attacks."""
    return drills(identity, (), ())[0]


@functools.cache
def fallbacks(identity: str) -> dict[tuple[str, ...], Verdicts]:
    """What became of the attacks that reach for what a missing layer held, for each of `WITHOUT`."""
    return dict(zip(WITHOUT, drills(identity, FALLBACK, *WITHOUT), strict=True))


@identities
@pytest.mark.parametrize("name", attack_suite.names())
def test_attack_is_blocked(name: str, identity: str) -> None:
    assert with_every_layer(identity)[name]["fault"] == ""


@identities
def test_attacks_leave_nothing_behind(identity: str) -> None:
    assert "what is left behind" not in with_every_layer(identity)


@identities
@pytest.mark.parametrize("without", WITHOUT, ids=" and ".join)
def test_layers_that_are_left_hold(without: tuple[str, ...], identity: str) -> None:
    found = fallbacks(identity)[without]
    assert set(found) - {"what is left behind"} == {
        name for name in FALLBACK if attack_suite.needs(name) not in without
    }
    assert {name: verdict["fault"] for name, verdict in found.items() if verdict["fault"]} == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can forbid namespaces")
def test_namespaces_that_the_system_forbids_are_noticed() -> None:
    # As in a container: root by name, without capabilities, and no user namespace may be made.
    forbid = (
        'echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --bounding-set -all --inh-caps -all "$@"'
    )
    check = [sys.executable, "-m", "qwen_cli", "sandbox", "check", "--no-attacks", "--json"]
    run = [sys.executable, "-m", "qwen_cli", "sandbox", "run", "-"]
    inside = ["unshare", "-Ur", "sh", "-c", forbid, "sh"]
    report = json.loads(subprocess.run([*inside, *check], capture_output=True, check=True).stdout)
    assert report["level"] == "partial"
    assert report["layers"][0]["active"] is False
    assert report["layers"][0]["advice"]
    done = subprocess.run([*inside, *run], input=b"print(6 * 7)", capture_output=True, check=False)
    assert done.stdout == b"42\n", done.stderr
    assert done.stderr.count(b"the sandbox has no namespaces here") == 1


def test_this_machine_offers_enough() -> None:
    assert probe.probe().level != "none"


def test_the_attack_suite_notices_an_escape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "escaping.py").write_text("# escape: said\nprint('ESCAPED: yes')\n")
    (tmp_path / "hanging.py").write_text("# escape: hangs\nwhile True: pass\n")
    (tmp_path / "forging.py").write_text("# escape: forged\n'FORGED'\n")
    (tmp_path / "calm.py").write_text("# escape: none\nprint('contained')\n")
    monkeypatch.setattr(attack_suite, "ATTACKS", tmp_path)
    found = {verdict.name: verdict.fault for verdict in attack_suite.run()}
    assert found["escaping"] == "ESCAPED: yes"
    assert found["hanging"].startswith("ended as timeout")
    assert "forged result" in found["forging"]
    assert found["calm"] == ""


def test_the_attack_suite_notices_what_is_left_outside() -> None:
    with attack_suite.bait() as bait:
        folder = Path(bait["SECRET"]).parent
        assert attack_suite.left_behind(bait) == ""
        (folder / "qwen_escape").touch()
        Path(bait["SECRET"]).write_text("changed")
        name = "import ctypes, time; ctypes.CDLL(None).prctl(15, b'qwen-canary', 0, 0, 0); print(flush=True)"
        command = [sys.executable, "-c", f"{name}; time.sleep(60)"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            found = attack_suite.left_behind(bait)
            process.kill()
    assert "qwen_escape" in found
    assert "changed the secret" in found
    assert str(process.pid) in found
