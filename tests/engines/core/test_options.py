"""How a model is loaded, as one value: what was given, what it is worth, what another process is told."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_cli.engines.core.options import ATTENTION, DTYPES, LoadOptions
from qwen_cli.errors import UsageError

OTHERS: dict[str, Any] = {
    "model": "qwen3:8b",
    "engine": "transformers",
    "endpoint": "http://there:8000",
    "api_key": "secret",
    "headers": {"X-Team": "nlp"},
    "context": 4096,
    "quant": "4bit",
    "dtype": "bf16",
    "device_map": "cuda:0",
    "max_memory": "0=10GiB",
    "offload_dir": Path("/tmp/weights"),
    "attention": "sdpa",
    "compiled": True,
    "adapters": (Path("/adapters/one"), Path("/adapters/two")),
    "merge": False,
    "draft": "ngram",
    "rope_scaling": "yarn",
    "dca_chunk": 4096,
    "kv": "q8_0",
    "n_cpu_moe": 4,
    "vision": True,
    "trust_remote_code": True,
    "allow_pickle": True,
    "parallel": 2,
}
LOCAL = {
    name: value for name, value in OTHERS.items() if name not in ("endpoint", "api_key", "headers", "vision")
}


def test_every_option_is_tried_here() -> None:
    assert set(OTHERS) == {option.name for option in fields(LoadOptions)}


def test_nothing_is_given_by_default() -> None:
    assert LoadOptions().given() == {}
    assert LoadOptions(model="", device_map="").given() == {}


@pytest.mark.parametrize("name", OTHERS)
def test_each_option_is_given_once_it_says_something(name: str) -> None:
    assert LoadOptions(**{name: OTHERS[name]}).given() == {name: OTHERS[name]}


def test_options_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        LoadOptions().context = 5  # type: ignore[misc]
    assert hash(LoadOptions(**OTHERS)) == hash(LoadOptions(**OTHERS))


def test_a_key_is_not_shown() -> None:
    assert "secret" not in repr(LoadOptions(**OTHERS))


class TestValues:
    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"context": 0}, "`context` must be at least 1, got 0"),
            ({"context": "4k"}, "`context` must be a whole number, got '4k'"),
            ({"context": True}, "`context` must be a whole number, got True"),
            ({"context": 2.5}, "`context` must be a whole number"),
            ({"parallel": -1}, "`parallel` must be at least 1"),
            ({"parallel": None}, "`parallel` must be a whole number, got None"),
            ({"model": 7}, "`model` must be a text, got 7"),
            ({"compiled": 1}, "`compiled` must be true or false, got 1"),
            ({"merge": "no"}, "`merge` must be true or false, got 'no'"),
            ({"trust_remote_code": "yes"}, "`trust_remote_code` must be true or false"),
            ({"adapters": "lora"}, "`adapters` must be a list of paths, got 'lora'"),
            ({"adapters": None}, "`adapters` must be a list of paths, got None"),
            ({"adapters": [3]}, "`adapters` must be a list of paths"),
            ({"offload_dir": 3}, "`offload_dir` must be a path"),
            ({"headers": "X: y"}, "`headers` must be a mapping"),
            ({"dtype": "int3"}, "`dtype` must be auto, bf16, fp16 or fp32, got 'int3'"),
            ({"dtype": None}, "`dtype` must be a text, got None"),
            ({"attention": "flash"}, "`attention` must be .*, got 'flash'"),
            ({"quant": "5bit"}, "`quant` must be none, 8bit, 4bit or a GGUF file type such as q4_k_m"),
            ({"kv": "q8"}, "`kv` must be f16, bf16, q8_0 or q4_0, got 'q8'"),
            ({"kv": ""}, "`kv` must be f16, bf16, q8_0 or q4_0, got ''"),
            ({"kv": 8}, "`kv` must be a text, got 8"),
            ({"n_cpu_moe": -1}, "`n_cpu_moe` must be 0 or more, got -1"),
            ({"n_cpu_moe": True}, "`n_cpu_moe` must be a whole number, got True"),
            ({"rope_scaling": "linear"}, "`rope_scaling` cannot be 'linear'"),
        ],
    )
    def test_what_no_engine_takes_is_refused(self, options: dict[str, Any], said: str) -> None:
        with pytest.raises(UsageError, match=said):
            LoadOptions(**options)

    def test_paths_may_be_texts(self) -> None:
        options = LoadOptions(adapters=["a", Path("b")], offload_dir="c")  # type: ignore[list-item, arg-type]
        assert options.adapters == (Path("a"), Path("b"))
        assert options.offload_dir == Path("c")

    @pytest.mark.parametrize(
        ("quant", "bits", "file_type"),
        [(None, None, None), ("4BIT", "4bit", None), ("none", "none", None), ("q8_0", None, "q8_0")],
    )
    def test_a_quantization_is_of_one_kind(self, quant: str, bits: str, file_type: str) -> None:
        options = LoadOptions(quant=quant)
        assert (options.bits, options.file_type) == (bits, file_type)


class TestIdentity:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ({}, {"parallel": 2}),
            ({}, {"api_key": "k", "headers": {"a": "b"}}),
            ({"dtype": "bf16"}, {"dtype": "BFLOAT16"}),
            ({"quant": "q4_k_m"}, {"quant": "Q4_K_M"}),
            ({"adapters": ["a"]}, {"adapters": [Path("a").absolute()]}),
            ({}, {"draft": "auto", "attention": "auto"}),
        ],
    )
    def test_what_loads_the_same_is_one(self, one: dict[str, Any], other: dict[str, Any]) -> None:
        assert LoadOptions(**one).identity() == LoadOptions(**other).identity()

    @pytest.mark.parametrize(
        "name",
        sorted(
            set(OTHERS) - {"model", "endpoint", "api_key", "headers", "vision", "allow_pickle", "parallel"}
        ),
    )
    def test_what_loads_otherwise_is_another(self, name: str) -> None:
        assert LoadOptions(**{name: OTHERS[name]}).identity() != LoadOptions().identity()


class TestWire:
    def test_what_is_given_arrives(self) -> None:
        options = LoadOptions(**LOCAL)
        assert LoadOptions.from_wire(json.loads(json.dumps(options.to_wire()))) == options

    def test_what_is_for_a_server_elsewhere_stays_here(self) -> None:
        assert LoadOptions(api_key="secret", headers={"a": "b"}, endpoint="http://x").to_wire() == {}
        with pytest.raises(UsageError, match="no loading option 'api_key'"):
            LoadOptions.from_wire({"api_key": "k"})

    def test_files_are_named_so_that_another_folder_does_not_matter(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        here = {"model": "./own", "draft": "small.gguf", "device_map": "map.json", "adapters": ["lora"]}
        sent = LoadOptions(**here, offload_dir=Path("disk")).to_wire()  # type: ignore[arg-type]
        assert sent == {
            "model": str(tmp_path / "own"),
            "draft": str(tmp_path / "small.gguf"),
            "device_map": str(tmp_path / "map.json"),
            "adapters": [str(tmp_path / "lora")],
            "offload_dir": str(tmp_path / "disk"),
        }

    def test_names_of_models_stay_as_they_are(self) -> None:
        sent = {"model": "Qwen/Qwen3-8B", "draft": "qwen3:0.6b", "device_map": "auto"}
        assert LoadOptions(**sent).to_wire() == sent

    @pytest.mark.parametrize(
        "sent", [None, [], "starter", {"modle": "x"}, {"context": "4k"}, {"parallel": 0}]
    )
    def test_anything_else_is_refused(self, sent: Any) -> None:
        with pytest.raises(UsageError):
            LoadOptions.from_wire(sent)

    @given(
        st.fixed_dictionaries(
            {},
            optional={
                "model": st.sampled_from(["starter", "qwen3:8b", "Qwen/Qwen3-8B", "/weights/a.gguf"]),
                "context": st.integers(1, 2**20),
                "quant": st.sampled_from(["none", "8bit", "4bit", "q4_k_m", "Q8_0"]),
                "dtype": st.sampled_from(sorted(DTYPES)),
                "attention": st.sampled_from(ATTENTION),
                "adapters": st.lists(st.sampled_from(["/a", "/b"])).map(tuple),
                "merge": st.sampled_from([None, True, False]),
                "compiled": st.booleans(),
                "draft": st.sampled_from(["auto", "off", "ngram", "qwen3:0.6b"]),
                "parallel": st.integers(1, 64),
            },
        )
    )
    def test_any_options_come_back_as_they_were(self, options: dict[str, Any]) -> None:
        sent = LoadOptions(**options)
        back = LoadOptions.from_wire(json.loads(json.dumps(sent.to_wire())))
        assert back == sent
        assert back.identity() == sent.identity()
