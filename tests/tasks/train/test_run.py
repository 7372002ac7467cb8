"""A whole training of a small model: it learns, resumes to the same bits after a kill, and touches no file
that is not its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small_models
from safetensors.torch import load_file

from qwen_cli.errors import EngineError, ModelError, UsageError
from qwen_cli.models.planning import hardware
from qwen_cli.tasks.train import Evaluated, Planned, Resumed, Stepped, TrainResult, TrainSettings, run, train
from qwen_cli.tasks.train.folder import RunFolder

ROWS = [
    {"prompt": f"What is {a} plus {b}?", "completion": f"It is {a + b}."} for a in range(5) for b in range(4)
]
FILES = {"adapter_config.json", "adapter_model.safetensors", "log.jsonl", "training.json", ".training.lock"}


class Killed(BaseException):
    """The end of a process at once: nothing of it is caught or tidied up after."""


@pytest.fixture(scope="module")
def model(starter_safetensors: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    small_models.make("Qwen2", folder, starter_safetensors, num_hidden_layers=1)
    return folder


@pytest.fixture
def settings(model: Path, tmp_path: Path) -> Callable[..., TrainSettings]:
    def made(**given: Any) -> TrainSettings:
        usual = {"rank": 4, "dropout": 0.1, "epochs": 2, "tokens_per_step": 250, "learning_rate": 5e-3}
        more = {"dtype": "fp32", "save_seconds": 0.0, "evaluations": 2}
        places = {"model": str(model), "out": tmp_path / "out"}
        return TrainSettings(**places | usual | more | given)

    return made


def kept(folder: Path) -> tuple[bytes, bytes, list[dict[str, Any]]]:
    """The adapter, and the log without times."""
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in log]
    return (
        (folder / "adapter_model.safetensors").read_bytes(),
        (folder / "adapter_config.json").read_bytes(),
        rows,
    )


def figures(result: TrainResult) -> dict[str, Any]:
    return {name: value for name, value in result.to_json().items() if name not in ("seconds", "out")}


@pytest.fixture(scope="module")
def whole(model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, Any], list[Any]]:
    """What an uninterrupted training leaves, its result, and the events of it."""
    out = tmp_path_factory.mktemp("whole") / "out"
    events: list[Any] = []
    result = train(
        TrainSettings(
            str(model), out, rank=4, dropout=0.1, epochs=2, tokens_per_step=250, learning_rate=5e-3,
            dtype="fp32", save_seconds=0.0, evaluations=2,
        ),
        ROWS,
        report=events.append,
    )  # fmt: skip
    assert {file.name for file in out.iterdir()} == FILES
    return kept(out), figures(result), events


def test_a_training_is_told_and_lowers_the_loss(whole: Any) -> None:
    _, result, events = whole
    planned = events[0]

    assert isinstance(planned, Planned)
    assert (planned.rows, planned.heldout_rows, planned.sequences) == (20, 2, 18)
    assert planned.parameters == 4 * (2 * (64 + 64) + 2 * (64 + 32) + 3 * (64 + 96))
    steps = [event for event in events if isinstance(event, Stepped)]
    assert [event.step for event in steps] == list(range(1, planned.steps + 1))
    assert result["heldout_loss"] < 0.7 * result["heldout_before"]
    assert steps[-1].loss < 0.7 * steps[0].loss
    assert result["heldout_loss"] == min(event.loss for event in events if isinstance(event, Evaluated))


def test_killed_after_any_event_it_resumes_to_the_same_bits(whole: Any, settings: Any) -> None:
    wanted, result, events = whole
    chosen = settings()
    resumed, runs = [], 0
    for _ in range(2 * len(events)):
        seen: list[Any] = []

        def report(event: Any, seen: list[Any] = seen) -> None:
            seen.append(event)
            resumed.extend([event] if isinstance(event, Resumed) else [])
            if sum(isinstance(one, (Stepped, Evaluated)) for one in seen) == 3:  # each run gets a bit further
                raise Killed

        runs += 1
        try:
            last = train(chosen, ROWS, report=report)
            break
        except Killed:
            continue

    assert runs > 3 and len(resumed) >= runs - 2
    assert kept(chosen.out) == wanted
    assert figures(last) == result
    assert {file.name for file in chosen.out.iterdir()} == FILES


@pytest.mark.parametrize("renamed", [False, True])
@pytest.mark.parametrize("write", [0, 1, 2, 3, 5, 8])
def test_killed_while_a_file_is_written_it_resumes_to_the_same_bits(
    whole: Any, settings: Any, monkeypatch: pytest.MonkeyPatch, write: int, renamed: bool
) -> None:
    put, writes = RunFolder._put, iter(range(100))

    def dying(self: RunFolder, name: str, make: Callable[[Path], None]) -> None:
        if next(writes) == write:
            if renamed:
                put(self, name, make)
            else:
                make(self.path / f".{name}.partial")
            raise Killed
        put(self, name, make)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "_put", dying)
        with pytest.raises(Killed):
            train(settings(), ROWS)
    result = train(settings(), ROWS)

    assert kept(settings().out) == whole[0]
    assert figures(result) == whole[1]
    assert {file.name for file in settings().out.iterdir()} == FILES


def test_interrupted_by_hand_it_goes_on_where_it_was(whole: Any, settings: Any) -> None:
    def report(event: Any) -> None:
        if isinstance(event, Stepped) and event.step == 4:
            raise KeyboardInterrupt

    events: list[Any] = []
    with pytest.raises(KeyboardInterrupt):
        train(settings(save_seconds=1e9), ROWS, report=report)
    train(settings(save_seconds=1e9), ROWS, report=events.append)

    assert Resumed(4, whole[2][0].steps) in events
    assert kept(settings().out) == whole[0]


def test_a_training_that_is_complete_is_not_done_again(whole: Any, settings: Any) -> None:
    first = train(settings(steps=1), ROWS)
    events: list[Any] = []

    assert train(settings(steps=1), ROWS, report=events.append) == first
    assert events == []


@pytest.mark.parametrize(
    ("changes", "rows", "said"),
    [
        ({"learning_rate": 1e-3}, ROWS, "learning_rate was 0.005, here it is 0.001"),
        ({"seed": 7}, ROWS, "seed was 0, here it is 7"),
        ({}, ROWS[1:], "data was"),
    ],
)
def test_a_folder_of_another_training_is_refused_and_left_as_it_is(
    settings: Any, changes: dict[str, Any], rows: list[Any], said: str
) -> None:
    train(settings(steps=1), ROWS)
    before = {file.name: file.read_bytes() for file in settings().out.iterdir()}

    with pytest.raises(UsageError) as refused:
        train(settings(steps=1, **changes), rows)

    assert said in str(refused.value)
    assert {file.name: file.read_bytes() for file in settings().out.iterdir()} == before


def test_another_model_of_the_same_name_is_refused(model: Path, settings: Any) -> None:
    train(settings(steps=1), ROWS)
    file = model / "model.safetensors"
    weights = file.read_bytes()
    try:
        file.write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
        with pytest.raises(UsageError, match="weights was"):
            train(settings(steps=1), ROWS)
    finally:
        file.write_bytes(weights)


def test_a_folder_of_something_else_is_refused_and_left_as_it_is(settings: Any) -> None:
    out = settings().out
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")

    with pytest.raises(UsageError, match="it holds something else"):
        train(settings(), ROWS)
    assert [file.name for file in out.iterdir()] == ["thesis.tex"]

    (out / "training.json").write_text('{"by": "somebody"}')
    with pytest.raises(UsageError, match="it holds something else"):
        train(settings(), ROWS)
    assert (out / "training.json").read_text() == '{"by": "somebody"}'

    with pytest.raises(UsageError, match="it is a file"):
        train(settings(out=out / "thesis.tex"), ROWS)


def test_two_trainings_do_not_share_a_folder(settings: Any) -> None:
    def report(event: Any) -> None:
        if isinstance(event, Stepped):
            with pytest.raises(UsageError, match="another training is running"):
                train(settings(steps=1), ROWS)

    train(settings(steps=1), ROWS, report=report)


def test_without_held_out_rows_the_last_step_is_kept(settings: Any) -> None:
    result = train(settings(steps=2, heldout=0.0), ROWS)

    assert (result.best_step, result.heldout_loss) == (2, None)
    assert load_file(settings().out / "adapter_model.safetensors")


def test_it_stops_where_the_held_out_loss_no_longer_falls_and_keeps_the_best(settings: Any) -> None:
    wrong = [{**row, "completion": "Perhaps."} for row in ROWS[:2]]
    result = train(settings(epochs=9, patience=2, evaluations=4, learning_rate=2e-2), ROWS, heldout=wrong)
    log = kept(settings().out)[2]
    measured = {row["step"]: row["heldout_loss"] for row in log if "heldout_loss" in row}

    assert result.stopped == "patience"
    assert result.best_step == min(measured, key=lambda step: measured[step])
    assert sorted(measured).index(result.best_step) == len(measured) - 3


def test_a_model_named_from_its_folder_is_found_from_others(
    settings: Any, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model.parent)
    first = train(settings(model=f"./{model.name}", steps=1), ROWS)
    config = json.loads((first.out / "adapter_config.json").read_text())

    assert Path(config["base_model_name_or_path"]) == model
    monkeypatch.chdir(model)
    assert train(settings(model="../" + model.name, steps=1), ROWS) == first


def test_it_goes_on_from_an_adapter(settings: Any, tmp_path: Path) -> None:
    first = train(settings(), ROWS)
    second = train(settings(out=tmp_path / "second", start_from=first.out, steps=1, rank=99), ROWS)

    assert second.heldout_before == pytest.approx(first.heldout_loss, rel=1e-6)
    assert json.loads((second.out / "adapter_config.json").read_text())["r"] == 4


def test_the_adapter_is_what_the_engines_take(settings: Any, model: Path, tmp_path: Path) -> None:
    from qwen_cli.engines.transformers import load
    from qwen_cli.models.formats import lora
    from qwen_cli.models.hub import resolve

    out = train(settings(steps=2), ROWS).out
    assert (
        len({(out / name).stat().st_mode for name in ("adapter_config.json", "adapter_model.safetensors")})
        == 1
    )
    weights = resolve.resolve(str(model), prefer="safetensors")

    assert load.model(weights, adapters=[out], dtype="fp32") is not None
    assert lora.to_gguf(out, lora.base_of(model), tmp_path / "adapter.gguf").is_file()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rank": 0}, "`rank=0` makes no sense"),
        ({"learning_rate": float("nan")}, "`learning_rate=nan` makes no sense"),
        ({"dropout": 1.0}, "`dropout=1.0` makes no sense"),
        ({"turns": "first"}, "all or last"),
        ({"dtype": "fp16"}, "auto, bf16 or fp32"),
        ({"targets": ("x_proj",)}, "has no layers that end in x_proj"),
        ({"targets": ("",)}, "ends of layers' names"),
        ({"max_length": 8}, "none of 18 rows has an answer within 8 tokens"),
        ({"start_from": Path("/nowhere")}, "/nowhere is not a LoRA adapter"),
    ],
)
def test_what_makes_no_sense_is_refused_before_the_model_is_loaded(
    settings: Any, given: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "_network", lambda *given: pytest.fail("the model is loaded"))

    with pytest.raises(UsageError) as refused:
        train(settings(**given), ROWS)

    assert said in str(refused.value)


def test_too_little_memory_is_told_before_the_model_is_loaded(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "_network", lambda *given: pytest.fail("the model is loaded"))
    monkeypatch.setattr(hardware, "free_memory", lambda: 300 << 20)

    with pytest.raises(ModelError, match=r"needs \d+ MB with sequences of 50 tokens, 315 MB are free"):
        train(settings(), ROWS)


def test_a_gguf_file_is_told_how_to_become_safetensors(settings: Any, starter_gguf: Path) -> None:
    with pytest.raises(ModelError, match=r"is GGUF, training needs safetensors\. Run `qwen models convert"):
        train(settings(model=str(starter_gguf)), ROWS)


def test_a_quantized_model_is_refused(settings: Any, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "quantized"
    folder.mkdir()
    for file in model.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": {"bits": 4}}))

    with pytest.raises((ModelError, UsageError), match="quantized"):
        train(settings(model=str(folder)), ROWS)


def test_rows_that_are_all_held_out_too_are_told(settings: Any) -> None:
    with pytest.raises(UsageError, match="all rows are held out too"):
        train(settings(), ROWS[:1] * 20)


@pytest.mark.parametrize("architecture", ["Qwen3Moe", "Qwen2_5_VL", "Qwen3_5"])
def test_other_architectures_learn_too_whatever_is_kept_in_memory(
    architecture: str, settings: Any, starter_safetensors: Path, tmp_path: Path
) -> None:
    sees = architecture in small_models.VISUAL
    make = small_models.make_seeing if sees else small_models.make
    folder = make(architecture, tmp_path / "model", starter_safetensors)
    given = {"model": str(folder), "steps": 2, "dtype": "bf16", "dropout": 0.0}
    results = [train(settings(out=tmp_path / way, checkpointing=way, **given), ROWS) for way in ("off", "on")]
    names = load_file(results[0].out / "adapter_model.safetensors")

    assert results[0].heldout_loss < results[0].heldout_before
    assert results[0].heldout_loss == results[1].heldout_loss
    assert not [name for name in names if "visual" in name]


def test_a_training_that_diverges_is_told(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *given: torch.tensor(float("nan")))

    with pytest.raises(EngineError, match="diverged at step 1: the gradient is nan"):
        train(settings(), ROWS)
