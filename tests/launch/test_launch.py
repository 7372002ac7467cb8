"""vLLM and SGLang: what they are told, held against the flags that their releases have."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from qwen_cli.errors import EngineError, ModelError, UsageError
from qwen_cli.launch import command as launch_command
from qwen_cli.launch import locate, nodes, sglang, vllm
from qwen_cli.launch.command import LaunchOptions, method
from qwen_cli.launch.parallelism import Split, divides, work_out
from qwen_cli.launch.target import EngineName, Target, drafted, find, scaling
from qwen_cli.models.catalog import answers, lookup, published
from qwen_cli.models.planning import describe
from qwen_cli.models.planning.gpus import Gpu

RECORDED = Path(__file__).parents[1] / "engines" / "recorded"
H100 = Gpu("H100", 80 * 10**9, 79 * 10**9)
B200 = Gpu("B200", 192 * 10**9, 190 * 10**9)
RTX = Gpu("RTX 4090", 24 * 10**9, 23 * 10**9)


def recorded(release: str) -> dict[str, list[str]]:
    """The flags of a release with the choices they have."""
    lines = (RECORDED / f"{release}.txt").read_text().splitlines()
    return {words[0]: words[1:] for words in map(str.split, lines)}


def target(name: str, **config: Any) -> Target:
    model = lookup.find(name)
    assert model
    found = describe.of_model(model)
    full = {"rope_theta": 1_000_000.0, **(found.config or {}), **config}
    return Target(model.repo, name, describe.replace(found, config=full, stored="bf16", size=None))


def asked(name: str, gpus: int = 8, **more: Any) -> LaunchOptions:
    one = target(name)
    context, rope = more.pop("context", None), more.pop("rope", None)
    parameters, longest = scaling(one, rope, context)
    split = work_out(one, [B200] * gpus, context=context, longest=longest)
    return LaunchOptions(one, split, scaling=parameters, **more)


def values(words: tuple[str, ...]) -> dict[str, str]:
    return {
        word: following for word, following in zip(words, [*words[1:], ""], strict=True) if word[:2] == "--"
    }


SERVED = [
    model.name for model in lookup.MODELS if not answers.silent_task(model) and published.has_shape(model)
]


class TestFlags:
    """Nothing is invented: each flag, and each value of those that have choices, is in the release."""

    @pytest.mark.parametrize("name", SERVED)
    def test_every_model_of_the_catalog(self, name: str) -> None:
        dual = target(name).dual_chunk
        releases = ("vllm-0.10.2", "sglang-0.5.19") if dual else ("vllm-0.33.0", "sglang-0.5.23")
        gpus = 32 if name == "qwen3.8:2.4t-a95b" else 8
        one = asked(name, gpus, trust_remote_code=True, dtype="bf16")
        for release, words in zip(
            releases, (vllm.command(one).words, sglang.command(one).words), strict=True
        ):
            self.held(words, recorded(release))

    def held(self, words: tuple[str, ...], known: dict[str, list[str]]) -> None:
        assert words[:2] in (("vllm", "serve"), ("sglang", "serve"))
        for flag, value in values(words).items():
            assert flag in known
            assert not known[flag] or value in known[flag], f"{flag} {value}"

    def test_everything_that_can_be_asked(self, tmp_path: Path) -> None:
        adapter = tmp_path / "tone"
        adapter.mkdir()
        (adapter / "adapter_config.json").write_text('{"r": 24}')
        one = asked(
            "qwen3:8b", context=65_536, rope="yarn", quant="fp8", adapters=(adapter,), trust_remote_code=True
        )
        self.held(vllm.command(one, ray=True).words, recorded("vllm-0.33.0"))
        self.held(sglang.command(one, nodes=2, node=1, first="a:1").words, recorded("sglang-0.5.23"))
        assert values(vllm.command(one).words)["--max-lora-rank"] == "32"  # a rank that vLLM has kernels for
        assert values(sglang.command(one).words)["--lora-paths"] == f"tone={adapter}"

    def test_the_models_own_draft_layer(self) -> None:
        """With a number: without one vLLM does not start Qwen3.5-27B (vllm-project/recipes)."""
        one = asked("qwen3.5:9b", drafted=drafted(target("qwen3.5:9b")))
        words = vllm.command(one).words
        self.held(words, recorded("vllm-0.33.0"))
        assert json.loads(values(words)["--speculative-config"]) == {
            "method": "mtp",
            "num_speculative_tokens": 3,
        }
        words = sglang.command(one).words
        self.held(words, recorded("sglang-0.5.23"))
        assert values(words)["--speculative-num-steps"] == "3"
        assert values(words)["--speculative-num-draft-tokens"] == "4"
        assert not any("specul" in word for word in vllm.command(asked("qwen3.5:9b")).words)

    @pytest.mark.parametrize(
        "name, config",
        [("qwen3:8b", {}), ("qwen3.5:9b", {"mtp_num_hidden_layers": 0}), ("qwen2.5-vl:7b", {})],
    )
    def test_a_model_without_a_draft_layer_is_refused(self, name: str, config: dict[str, Any]) -> None:
        with pytest.raises(UsageError, match="has no draft layer"):
            drafted(target(name, **config))

    @pytest.mark.parametrize("engine", ["vllm", "sglang"])
    def test_what_they_quantize_to(self, engine: EngineName) -> None:
        from qwen_cli.launch.command import ONLINE

        release = {"vllm": "vllm-0.33.0", "sglang": "sglang-0.5.23"}[engine]
        assert set(ONLINE[engine]) <= set(recorded(release)["--quantization"])
        assert method("8bit", engine) == ("fp8", "8bit")
        with pytest.raises(UsageError, match="does not quantize to q4_k_m"):
            method("q4_k_m", engine)

    def test_ray(self) -> None:
        steps = nodes.steps("vllm", asked("qwen3:8b"), ("a", "b"))
        known = recorded("ray-2.60.0")
        starts = [step.command.words for step in steps if step.command.words[0] == "ray"]
        assert [words[2:] for words in starts] == [
            ("--head", "--port", "6379"),
            ("--address", "a:6379"),
        ]
        assert all(flag in known for words in starts for flag in values(words))

    def test_the_parsers_of_each_generation(self) -> None:
        def both(name: str, engine: EngineName) -> tuple[str | None, str | None]:
            model = lookup.find(name)
            return launch_command.reasoning(model, engine), launch_command.tools(model, engine)

        assert both("qwen3:8b", "vllm") == ("qwen3", "hermes")
        assert both("qwen3:8b", "sglang") == ("qwen3", "qwen")
        assert both("qwen3:4b-thinking-2507", "sglang") == ("qwen3-thinking", "qwen")
        assert both("qwen3-coder:30b-a3b", "vllm") == (None, "qwen3_coder")
        assert both("qwq:32b", "vllm") == ("deepseek_r1", "hermes")
        assert both("qwen2.5-math:7b", "vllm") == (None, None)
        assert both("qwen2.5-vl:7b", "sglang") == (None, None)


class TestSplit:
    @pytest.mark.parametrize(
        ("name", "gpus", "tensor", "idle"),
        [
            ("qwen3:32b", 8, 8, 0),  # 64 query heads, 8 KV heads
            ("qwen2.5:7b", 8, 4, 4),  # 28 query heads: 4, not 8
            ("qwen2.5:7b", 3, 2, 1),
            ("qwen2.5:0.5b", 8, 2, 6),  # 14 query heads, 2 KV heads
            ("qwen3:30b-a3b", 8, 8, 0),  # 4 KV heads, each on two GPUs
        ],
    )
    def test_heads_decide(self, name: str, gpus: int, tensor: int, idle: int) -> None:
        split = work_out(target(name), [H100] * gpus)
        assert (split.tensor, split.pipeline, split.idle) == (tensor, 1, idle)

    def test_a_pipeline_where_heads_cannot_be_divided_and_room_is_short(self) -> None:
        split = work_out(target("qwen2.5:14b"), [RTX] * 3)
        assert (split.tensor, split.pipeline) == (2, 1)
        split = work_out(target("qwen2.5:32b"), [Gpu("A100", 36 * 10**9, 35 * 10**9)] * 3)
        assert (split.tensor, split.pipeline, split.idle) == (1, 3, 0)  # two would not hold 65 GB

    def test_machines_are_a_pipeline(self) -> None:
        split = work_out(target("qwen3:235b-a22b"), [H100] * 8, 2)
        assert (split.tensor, split.pipeline, split.gpus) == (8, 2, 16)

    def test_what_does_not_fit_is_told(self) -> None:
        with pytest.raises(ModelError, match="with 4,096 tokens of context, 2 × RTX 4090") as fault:
            work_out(target("qwen2.5:72b"), [RTX] * 2)
        assert "(`nodes`)" in str(fault.value.hint)
        with pytest.raises(UsageError, match="has none"):
            work_out(target("qwen3:8b"), [])

    def test_the_context_is_what_there_is_room_for(self) -> None:
        whole = work_out(target("qwen3:8b"), [H100], longest=40_960)
        assert whole.context == 40_960
        less = work_out(target("qwen3:8b"), [RTX], longest=40_960)
        kept = target("qwen3:8b").described.counted.cache.bytes_at(less.context)
        assert 4_096 <= less.context < 40_960
        assert kept + 16.4e9 < 0.92 * RTX.memory
        with pytest.raises(ModelError):
            work_out(target("qwen3:8b"), [RTX], context=40_960, longest=40_960)

    def test_blocks_of_quantized_weights_stay_whole(self) -> None:
        awq = {"quantization_config": {"quant_method": "awq", "group_size": 128}}
        assert divides(target("qwen2.5:72b"), 8)
        assert not divides(target("qwen2.5:72b", **awq), 8)  # 29568 / 8 / 128 = 28.875
        fp8 = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}
        split = work_out(target("qwen3:30b-a3b", **fp8), [H100] * 8)
        assert (split.tensor, split.experts) == (8, True)  # 768 / 8 / 128 is no whole number


class TestLongContext:
    def test_yarn_keeps_the_base_and_says_the_length(self) -> None:
        one = asked("qwen3:8b", context=65_536, rope="yarn")
        for words, flag in (
            (vllm.command(one).words, "--hf-overrides"),
            (sglang.command(one).words, "--json-model-override-args"),
        ):
            assert json.loads(values(words)[flag]) == {
                "rope_parameters": {
                    "rope_theta": 1_000_000.0,
                    "rope_type": "yarn",
                    "factor": 2.0,
                    "original_max_position_embeddings": 32_768,
                },
                "max_position_embeddings": 65_536,
            }

    def test_vision_models_have_it_in_their_text_part(self) -> None:
        one = asked("qwen3-vl:8b-instruct", context=400_000, rope="yarn")
        assert list(one.overrides or {}) == ["text_config"]

    def test_a_base_that_is_not_known_is_not_guessed(self) -> None:
        one = asked("qwen3:8b", context=65_536, rope="yarn")
        unknown = describe.replace(one.target.described, config={"model_type": "qwen3"})
        with pytest.raises(ModelError, match="rope_theta"):
            LaunchOptions(Target("x", "x", unknown), one.split, scaling=one.scaling).overrides

    def test_too_long_is_refused(self) -> None:
        with pytest.raises(UsageError, match="trained for 40,960"):
            asked("qwen3:8b", context=65_536)
        with pytest.raises(UsageError, match="131,072"):
            asked("qwen3:8b", context=200_000, rope="yarn")

    def test_a_million_tokens_need_a_release_that_has_the_kernels(self, tmp_path: Path) -> None:
        one = target("qwen2.5-1m:7b")
        said = locate.check(one, "sglang", None)
        assert said
        assert "0.5.19" in said
        package = tmp_path / "sglang"
        here = locate.Installed(tmp_path / "bin" / "sglang", package)
        with pytest.raises(EngineError, match="is newer"):
            locate.check(one, "sglang", here)
        kernels = package / locate.LAST_DUAL_CHUNK["sglang"][1]
        kernels.parent.mkdir(parents=True)
        kernels.touch()
        assert locate.check(one, "sglang", here) is None
        words = sglang.command(asked("qwen2.5-1m:7b")).words
        assert values(words)["--attention-backend"] == "dual_chunk_flash_attn"
        assert vllm.command(asked("qwen2.5-1m:7b")).environment["VLLM_USE_V1"] == "0"


class TestNodes:
    @pytest.mark.parametrize("given", ["0", "a,-oProxyCommand=x", "a,,b", "a,a", "a b"])
    def test_what_are_no_machines(self, given: str) -> None:
        with pytest.raises(UsageError):
            nodes.parse(given)

    def test_sglang_has_a_rank_for_each(self) -> None:
        steps = nodes.steps("sglang", asked("qwen3:8b"), ("me@a", "b"))
        ranks = {step.host: values(step.command.words) for step in steps}
        assert {host: flags["--node-rank"] for host, flags in ranks.items()} == {"me@a": "0", "b": "1"}
        assert {flags["--dist-init-addr"] for flags in ranks.values()} == {"a:20000"}
        assert ["--api-key" in flags for flags in ranks.values()] == [False, True]  # clients ask the first

    def test_what_ssh_is_given_is_one_word_that_a_shell_reads_back(self) -> None:
        step = nodes.Step(
            "b", sglang.command(asked("qwen3:8b", context=65_536, rope="yarn"), nodes=2, node=1)
        )
        *before, command = nodes.over_ssh(step).words
        assert before[:3] == ["ssh", "-tt", "-o"] or before[:2] == ["ssh", "-o"]
        assert tuple(shlex.split(command)) == step.command.words

    def test_this_machine_knows_itself(self) -> None:
        assert nodes.is_here("me@localhost")
        assert not nodes.is_here("a.machine.invalid")


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in the place of vLLM, which tells what it was given and waits for a signal."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("vllm", "sglang"):
        (folder / name).write_text(
            f"#!{sys.executable}\n"
            "import json, os, signal, sys\n"
            "def end(number, frame):\n"
            "    print('signal', number, flush=True)\n"
            "    sys.exit(7)\n"
            "signal.signal(signal.SIGTERM, end); signal.signal(signal.SIGINT, end)\n"
            "key = os.environ.get('VLLM_API_KEY')\n"
            "if '--config' in sys.argv:\n"
            "    path = sys.argv[sys.argv.index('--config') + 1]\n"
            "    key = json.load(open(path))['api-key']; assert not os.stat(path).st_mode & 0o077\n"
            "print(json.dumps({'words': sys.argv[1:], 'key': key}), flush=True)\n"
            "while True: signal.pause()\n"
        )
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


# The machine has GPUs, as far as the program is told.
_WITH_GPUS = """
import sys
from qwen_cli.models.planning import hardware
from qwen_cli.models.planning.gpus import Gpu
from dataclasses import replace
real = hardware.this_machine
hardware.this_machine = lambda **k: replace(real(**k), gpus=(Gpu("H100", 80*10**9, 79*10**9),) * 2)
from qwen_cli.commands.main import main
sys.argv[0] = "qwen"
main()
"""


class TestRunning:
    @pytest.mark.parametrize("name", ["vllm", "sglang"])
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_output_signals_and_exit_code_are_passed_on(
        self, engine: Path, home: Path, tmp_path: Path, name: str, number: int
    ) -> None:
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                _WITH_GPUS,
                "serve",
                "--engine",
                name,
                "qwen3:8b",
                "--port",
                "9",
                "--",
                "--seed",
                "1",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "QWEN_SERVE_KEY": "sesame", "XDG_RUNTIME_DIR": str(tmp_path)},
        )
        assert process.stdout
        told = json.loads(process.stdout.readline())
        time.sleep(0.1)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 7, err
        assert out == f"signal {number}\n"  # once
        assert told["key"] == "sesame"
        assert "sesame" not in " ".join(told["words"])
        assert told["words"][-2:] == ["--seed", "1"]
        assert (
            values(tuple(told["words"]))["--tensor-parallel-size" if name == "vllm" else "--tp-size"] == "2"
        )
        assert "http://127.0.0.1:9/v1" in err
        assert not list(tmp_path.glob("qwen*/*.yaml"))

    def test_it_is_not_installed(self, qwen: Any) -> None:
        done = qwen("serve", "--engine", "sglang", "qwen3:8b", PATH="/usr/bin:/bin")
        assert done.returncode == 1
        assert done.stderr == (
            "qwen: SGLang is not installed. Run `pip install sglang` in an environment of its own and put its"
            " bin folder on PATH\n"
        )

    def test_the_command_is_printed(self, qwen: Any, tmp_path: Path) -> None:
        machine = tmp_path / "node.toml"
        gpus = '[[gpus]]\nname = "H100"\nmemory = "80GB"\n' * 4
        machine.write_text(f'name = "node"\nmemory = "512GB"\ncores = 64\n{gpus}')
        done = qwen("serve", "--engine", "vllm", "qwen3:8b", "--dry-run", "--machine", str(machine))
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith('VLLM_API_KEY="$QWEN_SERVE_KEY" vllm serve Qwen/Qwen3-8B ')
        assert "tensor parallel over 4" in done.stderr
        asked = ("qwen3.5:9b", "--draft", "mtp", "--dry-run", "--machine", str(machine))
        drafting = qwen("serve", "--engine", "sglang", *asked)
        assert " --speculative-algorithm NEXTN --speculative-num-steps 3 " in drafting.stdout, drafting.stderr
        several = qwen("serve", "--engine", "vllm", "qwen3:8b", "--nodes", "a,b", "--machine", str(machine))
        assert [line for line in several.stdout.splitlines() if line.startswith(("#", "ray"))] == [
            "# on a",
            "ray start --head --port 6379",
            "# on b",
            "ray start --address a:6379",
            "# on a",
        ]

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (["--engine", "vllm"], "serves one model"),
            (["--engine", "vllm", "model.gguf"], "is GGUF"),
            (["--engine", "vllm", "qwen3:8b", "--parallel", "3"], "--parallel is not for"),
            (["--engine", "vllm", "qwen3:8b", "--device-map", "auto"], "--device-map is for the engines of"),
            (["--engine", "vllm", "qwen3:8b", "--draft", "ngram"], "--draft ngram is for the engines of"),
            (["--engine", "vllm", "qwen3:8b", "--nodes", "2", "--run"], "needs to know the machines"),
            (["--engine", "vllm", "qwen3:8b", "--dry-run"], "has none"),
            (["qwen3:8b", "--dry-run"], "are for other engines"),
            (["--engine", "vllm", "qwen3:8b", "--no-key", "--host", "0.0.0.0"], "so a key is needed"),
        ],
    )
    def test_bad_input_is_one_line(self, qwen: Any, words: list[str], says: str) -> None:
        done = qwen("serve", *words)
        assert done.returncode in (1, 2)
        assert says in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_model_is_found_without_its_weights(home: Path) -> None:
    one = find("qwen3:8b", "vllm")
    assert (one.place, one.name, one.described.stored) == ("Qwen/Qwen3-8B", "qwen3:8b", "bf16")
    assert isinstance(work_out(one, [H100]), Split)
