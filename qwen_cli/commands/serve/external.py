"""`qwen serve --engine vllm|sglang`: those engines, with arguments worked out from model and machine."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

import typer

from qwen_cli.commands.shared.options import Loading
from qwen_cli.commands.shared.output import relay, say
from qwen_cli.errors import UsageError

if TYPE_CHECKING:
    from qwen_cli.launch.command import Command, LaunchOptions
    from qwen_cli.launch.locate import Installed
    from qwen_cli.launch.parallelism import Split
    from qwen_cli.launch.target import EngineName, Target

ENGINES = ("vllm", "sglang")


@dataclass(frozen=True)
class Where:
    """Where it is served, and what is done: `machine` describes another than this one, `nodes` are machines,
    with `run` it is started on them. `key` is None where none is asked for, "" where one is made up."""

    host: str
    port: int
    key: str | None = ""
    machine: Path | None = None
    nodes: str | None = None
    run: bool = False
    dry_run: bool = False
    extra: tuple[str, ...] = ()


def serve(engine: str, name: str | None, loading: Loading, where: Where) -> None:
    """Work the command out and run it, or print it. Raises `UsageError`, `ModelError`, `EngineError`."""
    from qwen_cli.launch import locate, nodes
    from qwen_cli.launch.target import EngineName, find

    assert engine in get_args(EngineName)
    chosen = cast("EngineName", engine)
    _refuse_what_is_ours(loading, chosen)
    count, hosts = nodes.parse(where.nodes)
    printing = where.dry_run or (where.nodes is not None and not where.run)
    if where.run and not hosts:
        raise UsageError("--run needs to know the machines", "name them: --nodes host1,host2")
    if where.machine and not printing:
        raise UsageError("--machine describes another machine", "add --dry-run to see the command for it")
    if where.run and not nodes.is_here(hosts[0]):
        raise UsageError(
            f"{hosts[0]} is not this machine, and the first of --nodes serves",
            "run it there, or name it first",
        )
    if where.key is None and not _is_loopback(where.host):
        raise UsageError(f"{where.host} can be reached by others, so a key is needed", "leave out --no-key")
    target = find(name or loading.model, chosen)
    engine_here = locate.find(chosen) if printing else locate.required(chosen)
    options, split = _worked_out(chosen, target, loading, where, count)
    if remark := locate.check(target, chosen, engine_here):
        relay(remark)
    say(_summary(target, split, count))
    if printing:
        _print(chosen, options, hosts or _unnamed(count), several=where.nodes is not None)
        return
    assert engine_here
    raise typer.Exit(_run(chosen, options, hosts if where.run else (), where, engine_here))


def _is_loopback(host: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refuse_what_is_ours(loading: Loading, engine: EngineName) -> None:
    """Raise `UsageError` for a flag that says how the engines of this program load a model."""
    from qwen_cli.launch.target import NAMES

    usual = Loading()
    if loading.draft not in ("auto", "off", "mtp"):
        raise UsageError(
            f"--draft {loading.draft} is for the engines of this program",
            f"use --draft mtp where the model has a draft layer; flags of {NAMES[engine]} stand after --",
        )
    for name in ("device_map", "max_memory", "offload_dir", "attention", "compiled", "merge", "kv",
                 "n_cpu_moe", "dca_chunk", "allow_pickle", "no_server", "endpoint"):  # fmt: skip
        if getattr(loading, name) != getattr(usual, name):
            flag = {"compiled": "compile"}.get(name, name).replace("_", "-")
            raise UsageError(
                f"--{flag} is for the engines of this program",
                f"leave it out; flags of {NAMES[engine]} stand after --: `qwen serve … -- --seed 1`",
            )


def _worked_out(
    engine: EngineName, target: Target, loading: Loading, where: Where, count: int
) -> tuple[LaunchOptions, Split]:
    from qwen_cli.launch import parallelism
    from qwen_cli.launch import target as launch_target
    from qwen_cli.launch.command import DTYPES, LaunchOptions, method
    from qwen_cli.models.planning import hardware

    if loading.dtype not in DTYPES:
        raise UsageError(f"--dtype must be one of {', '.join(DTYPES)}, got {loading.dtype!r}")
    form = method(loading.quant, engine)[1]
    scaling, longest = launch_target.scaling(target, loading.rope_scaling, loading.context)
    machine = hardware.read(where.machine) if where.machine else hardware.this_machine()
    parts = parallelism.work_out(
        target,
        () if machine.apples else machine.gpus,
        count,
        form=form,
        context=loading.context,
        longest=longest,
    )
    options = LaunchOptions(
        target,
        parts,
        host=where.host,
        port=where.port,
        keyed=where.key is not None,
        quant=loading.quant,
        dtype=loading.dtype,
        scaling=scaling,
        adapters=tuple(path.resolve() for path in loading.adapters or ()),
        trust_remote_code=loading.trust_remote_code,
        drafted=launch_target.drafted(target) if loading.draft == "mtp" else 0,
        extra=where.extra,
    )
    return options, parts


def _summary(target: Target, split: Split, count: int) -> str:
    cut = f"tensor parallel over {split.tensor}" if split.tensor > 1 else "one GPU"
    if split.pipeline > 1:
        cut += f", {split.pipeline} groups in a pipeline"
    if count > 1:
        cut += f", {count} machines"
    if split.experts:
        cut += ", experts whole"
    idle = f"; {split.idle} GPU{'s' if split.idle > 1 else ''} left idle" if split.idle else ""
    if split.idle:
        counted = target.described.counted
        idle += f" ({counted.query_heads} query and {counted.cache.kv_heads} KV heads do not divide by more)"
    return f"{target.place}: {cut}, {split.context:,} tokens of context{idle}"


def _unnamed(count: int) -> tuple[str, ...]:
    return ("$HEAD", *(f"machine {number}" for number in range(2, count + 1)))


def _print(engine: EngineName, options: LaunchOptions, hosts: Sequence[str], *, several: bool) -> None:
    from qwen_cli.launch import nodes, sglang, vllm

    if not several:
        typer.echo((vllm.command(options) if engine == "vllm" else sglang.command(options)).shell_line())
        return
    if hosts[0] == "$HEAD":
        typer.echo("HEAD=…  # the first machine, as the others reach it; set it on each")
    for step in nodes.steps(engine, options, hosts):
        typer.echo(f"# on {'the first machine' if step.host == '$HEAD' else step.host}")
        typer.echo(step.command.shell_line())


def _run(
    engine: EngineName, options: LaunchOptions, hosts: Sequence[str], where: Where, engine_here: Installed
) -> int:
    from qwen_cli.launch import nodes, process, sglang, vllm

    key = where.key if where.key is None else where.key or secrets.token_urlsafe(24)
    with _key_file(engine, key, made_up=where.key == "") as file:
        say(f"{options.target.name} will be at http://{options.host}:{options.port}/v1")
        if not hosts:
            single = vllm.command(options) if engine == "vllm" else sglang.command(options, keys=file)
            return process.serve(_beside(single, engine_here), key=key)
        steps = nodes.steps(engine, options, hosts, keys=file)

        def here(step: nodes.Step) -> Command:
            at_home = nodes.is_here(step.host)
            return _beside(step.command, engine_here) if at_home else nodes.over_ssh(step)

        try:
            for step in steps[:-1]:
                if not step.stays:
                    process.once(here(step))
            others = [here(step) for step in steps[:-1] if step.stays]
            return process.serve(here(steps[-1]), key=key, beside=others)
        finally:
            for step in nodes.leave(engine, hosts):
                process.once(here(step))


def _beside(command: Command, engine_here: Installed) -> Command:
    """Return `command` with the program that was found, and what stands beside it (Ray comes with vLLM)."""
    program = engine_here.program.parent / command.words[0]
    return replace(command, words=(str(program), *command.words[1:])) if program.exists() else command


@contextmanager
def _key_file(engine: EngineName, key: str | None, *, made_up: bool) -> Iterator[Path | None]:
    """Write the key to a file that only this user reads: SGLang is given the file, so that the list of
    processes does not show the key; a person finds one there that was made up."""
    from qwen_cli.engines.daemon import paths

    if key is None:
        say("no key is required: every user of this machine may use it")
        yield None
        return
    path = paths.private_folder() / f"{engine}-{os.getpid()}.yaml"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(json.dumps({"api-key": key}) + "\n")  # which is YAML, too
    if made_up:
        say(f"key: {key} (in {path})")
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
