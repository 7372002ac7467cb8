"""What a person may write after --model, and what they are told when it will not do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import gguf_files
import pytest
from hub_server import Hub

from qwen_cli.errors import DownloadError, ModelError, UsageError
from qwen_cli.models.hub import resolve, starter, store


@pytest.fixture
def placed_starter(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small GGUF in the starter's place, taken for whole."""
    starter.path().parent.mkdir(parents=True)
    file = gguf_files.write(starter.path())
    monkeypatch.setattr(starter, "SIZE", file.stat().st_size)
    return file


def folder(path: Path, name: str = "model.safetensors") -> Path:
    import numpy as np
    from safetensors.numpy import save_file

    path.mkdir(parents=True)
    config = {"model_type": "qwen3", "num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 2}
    (path / "config.json").write_text(json.dumps(config))
    save_file({"a": np.zeros(4, dtype=np.float32)}, path / name)
    return path


def test_a_gguf_file(tmp_path: Path) -> None:
    file = gguf_files.write(tmp_path / "Qwen3-8B-Q4_K_M.gguf", "qwen3")
    weights = resolve.resolve(str(file))
    assert (weights.path, weights.format, weights.label) == (file, "gguf", str(file))
    assert weights.model and weights.model.name == "qwen3:8b"
    assert weights.mmproj is None


def test_any_part_of_a_split_model_means_its_first(tmp_path: Path) -> None:
    first = gguf_files.write(tmp_path / "m-00001-of-00002.gguf")
    second = gguf_files.write(tmp_path / "m-00002-of-00002.gguf")
    weights = resolve.resolve(str(second))
    assert weights.path == first
    assert weights.size == first.stat().st_size + second.stat().st_size


def test_a_vision_model_takes_the_projector_beside_it(tmp_path: Path) -> None:
    file = gguf_files.write(tmp_path / "Qwen3VL-2B-Instruct-Q4_K_M.gguf", "qwen3vl")
    gguf_files.write(tmp_path / "mmproj-Qwen3VL-2B-Instruct-Q8_0.gguf", "clip")
    exact = gguf_files.write(tmp_path / "mmproj-Qwen3VL-2B-Instruct-F16.gguf", "clip")
    assert resolve.resolve(str(file)).mmproj == exact


def test_of_several_models_projectors_the_one_that_fits_is_taken(tmp_path: Path) -> None:
    """A folder in which a person keeps all files."""
    file = gguf_files.write(tmp_path / "Qwen3.5-2B-Q4_K_M.gguf", "qwen35")
    for name, width in (("a-mmproj-F16", 64), ("b-mmproj-F16", 32), ("c-mmproj-F16", 128)):
        gguf_files.write(tmp_path / f"{name}.gguf", "clip", **{"clip.vision.projection_dim": width})
    taken = resolve.resolve(str(file)).mmproj
    assert taken and taken.name == "b-mmproj-F16.gguf"


def test_a_folder_with_config(tmp_path: Path) -> None:
    path = folder(tmp_path / "Qwen3-0.6B")
    weights = resolve.resolve(str(path))
    assert (weights.path, weights.format) == (path, "safetensors")
    assert weights.model and weights.model.name == "qwen3:0.6b"


def test_a_folder_with_one_gguf(tmp_path: Path) -> None:
    file = gguf_files.write(tmp_path / "m-Q8_0.gguf")
    assert resolve.resolve(str(tmp_path)).path == file
    gguf_files.write(tmp_path / "m-Q4_0.gguf")
    with pytest.raises(ModelError, match=r"several models: m-Q4_0\.gguf, m-Q8_0\.gguf"):
        resolve.resolve(str(tmp_path))


def test_a_folder_with_a_config_and_a_gguf_is_a_gguf(tmp_path: Path) -> None:
    """As repositories of GGUF files come from a hub."""
    (tmp_path / "config.json").write_text('{"model_type": "qwen3"}')
    file = gguf_files.write(tmp_path / "Model_Q8_0.gguf", "qwen3")
    weights = resolve.resolve(str(tmp_path), prefer="safetensors")
    assert (weights.path, weights.format, weights.quant) == (file, "gguf", "Q8_0")


def test_a_folder_with_both_forms_whole_is_what_is_preferred(tmp_path: Path) -> None:
    path = folder(tmp_path / "Qwen3-0.6B")
    file = gguf_files.write(path / "m.gguf", "qwen3")
    assert resolve.resolve(str(path)).path == file
    assert resolve.resolve(str(path), prefer="safetensors").path == path
    assert resolve.resolve(str(path), prefer="safetensors", strict=True).path == path
    assert resolve.resolve(str(path), prefer="gguf", strict=True).path == file


@pytest.mark.parametrize("name", ["MODEL.GGUF", "Model_Q8_0.Gguf", "m-q4_k_m.GGUF"])
def test_the_ending_may_be_in_any_letter_case(tmp_path: Path, name: str) -> None:
    file = gguf_files.write(tmp_path / name, "qwen3")
    assert resolve.resolve(str(file)).path == file
    assert resolve.resolve(str(tmp_path)).path == file


def test_parts_may_be_in_upper_case(tmp_path: Path) -> None:
    first = gguf_files.write(tmp_path / "M-00001-of-00002.GGUF")
    with pytest.raises(
        ModelError, match=r"no whole model: .* is one of 2 files and M-00002-of-00002\.GGUF is"
    ):
        resolve.resolve(str(tmp_path))
    gguf_files.write(tmp_path / "M-00002-of-00002.GGUF")
    assert resolve.resolve(str(tmp_path)).path == first


def test_a_folder_with_a_projector_alone_says_so(tmp_path: Path) -> None:
    gguf_files.write(tmp_path / "Model.mmproj-f16.gguf", "clip")
    with pytest.raises(ModelError, match=r"holds Model\.mmproj-f16\.gguf alone, which goes with a model"):
        resolve.resolve(str(tmp_path))


def test_of_a_folder_with_several_types_the_one_asked_for_is_taken(tmp_path: Path) -> None:
    for name in ("m-Q4_K_M.gguf", "m-UD-Q8_K_XL.gguf", "m-f16.gguf"):
        gguf_files.write(tmp_path / name, "qwen3")
    assert resolve.resolve(str(tmp_path), quant="q8_k_xl").path.name == "m-UD-Q8_K_XL.gguf"
    assert resolve.resolve(str(tmp_path), quant="FP16").path.name == "m-f16.gguf"
    with pytest.raises(ModelError, match=r"has no Q2_K. It has F16, Q4_K_M, UD-Q8_K_XL"):
        resolve.resolve(str(tmp_path), quant="Q2_K")


@pytest.mark.parametrize(
    "projector",
    [
        "mmproj-Qwen3VL-2B-F16.gguf", "Qwen3VL-2B.mmproj-f16.gguf", "Qwen3VL-2B-mmproj-BF16.GGUF",
        "qwen3vl_2b_mmproj_f16.gguf", "Qwen3VL-mmproj-2B.gguf", "Qwen3VL-2B-F16-mmproj.gguf",
        "MMPROJ_Qwen3VL_2B.gguf",
    ],
)  # fmt: skip
def test_each_of_two_models_in_a_folder_has_its_own_projector(tmp_path: Path, projector: str) -> None:
    """The word mmproj stands anywhere in the name, and both models are of one width."""
    small = gguf_files.write(tmp_path / "Qwen3VL-2B-Q4_K_M.gguf", "qwen3vl")
    large = gguf_files.write(tmp_path / "Qwen3VL-4B-Q4_K_M.gguf", "qwen3vl")
    own = gguf_files.write(tmp_path / projector, "clip")
    other = gguf_files.write(tmp_path / "mmproj-Qwen3VL-4B-F16.gguf", "clip")
    assert resolve.resolve(str(small)).mmproj == own
    assert resolve.resolve(str(large)).mmproj == other


def test_projectors_that_may_be_anybodys_are_refused(tmp_path: Path) -> None:
    model = gguf_files.write(tmp_path / "Qwen3VL-2B-Q4_K_M.gguf", "qwen3vl")
    gguf_files.write(tmp_path / "Qwen3VL-4B-Q4_K_M.gguf", "qwen3vl")
    for name in ("mmproj-one.gguf", "mmproj-two.gguf"):
        gguf_files.write(tmp_path / name, "clip")
    with pytest.raises(ModelError, match="may all be the projector of Qwen3VL-2B-Q4_K_M") as caught:
        resolve.resolve(str(model))
    assert "mmproj-MODEL.gguf" in str(caught.value)


def test_another_models_projector_is_left_alone(tmp_path: Path) -> None:
    model = gguf_files.write(tmp_path / "Qwen3VL-2B-Q4_K_M.gguf", "qwen3vl")
    gguf_files.write(tmp_path / "mmproj-F16.gguf", "clip", **{"clip.vision.projection_dim": 99})
    assert resolve.resolve(str(model)).mmproj is None


def test_a_name_that_is_a_folder_and_a_model_means_the_folder_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve.means_a_folder("Qwen3-0.6B") is None
    folder(tmp_path / "Qwen3-0.6B")
    assert resolve.resolve("Qwen3-0.6B", prefer="safetensors").path == Path("Qwen3-0.6B")
    remark = resolve.means_a_folder("Qwen3-0.6B")
    assert remark == (
        "Qwen3-0.6B is the folder of that name here; the model of the catalog is Qwen/Qwen3-0.6B"
    )
    assert resolve.means_a_folder("./Qwen3-0.6B") is None
    folder(tmp_path / "mine")
    assert resolve.means_a_folder("mine") is None


def test_a_folder_without_a_model_is_named_beside_what_is_like_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "adir").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"no model 'adir', and the folder of that name has no config\.json"):
        resolve.resolve("adir")


def test_a_relative_folder_needs_no_dot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    assert resolve.resolve("mine").format == "safetensors"


def test_a_folder_without_config(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no config\.json and no whole \.gguf file"):
        resolve.resolve(str(tmp_path))


def test_a_folder_without_weights(tmp_path: Path) -> None:
    path = folder(tmp_path / "m")
    (path / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"a config\.json but no \*\.safetensors"):
        resolve.resolve(str(path))


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no file or folder"):
        resolve.resolve(str(tmp_path / "gone"))
    with pytest.raises(ModelError, match="there is no file or folder"):
        resolve.resolve("gone.gguf")


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello" * 20)
    with pytest.raises(ModelError, match="not a GGUF file"):
        resolve.resolve(str(tmp_path / "notes.txt"))


def test_another_architecture(tmp_path: Path) -> None:
    file = gguf_files.write(tmp_path / "llama.gguf", "llama")
    with pytest.raises(ModelError, match="architecture 'llama', which is not a Qwen"):
        resolve.resolve(str(file))


def test_strict_takes_only_one_form(tmp_path: Path) -> None:
    file = gguf_files.write(tmp_path / "m.gguf")
    with pytest.raises(ModelError, match="is gguf, this engine needs safetensors"):
        resolve.resolve(str(file), prefer="safetensors", strict=True)
    assert resolve.resolve(str(file), prefer="safetensors").format == "gguf"
    with pytest.raises(ModelError, match=r"qwen3:8b-base is not published as GGUF"):
        resolve.resolve("qwen3:8b-base", prefer="gguf", strict=True)


def test_an_unknown_name_gets_close_ones_in_one_line() -> None:
    with pytest.raises(
        ModelError, match=r"(?i)there is no model 'qwen3:9b'\. did you mean qwen3\.5:9b, qwen3:8b, "
    ) as caught:
        resolve.resolve("qwen3:9b")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 1
    with pytest.raises(ModelError, match=r"(?i)run `qwen models list`"):
        resolve.resolve("gpt-4")


def test_the_starter(placed_starter: Path) -> None:
    for name in ("starter", "STARTER", "qwen2.5-coder:0.5b", "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF"):
        weights = resolve.resolve(name)
        assert (weights.path, weights.label) == (placed_starter, "starter"), name
        assert weights.model and weights.model.name == "qwen2.5-coder:0.5b"
    assert resolve.resolve(str(placed_starter)).label == "starter"


def test_the_starter_has_one_form(placed_starter: Path) -> None:
    with pytest.raises(ModelError, match="qwen models convert starter"):
        resolve.resolve("starter", prefer="safetensors", strict=True)
    with pytest.raises(ModelError, match="Q4_K_M, not 'Q9'"):
        resolve.resolve("starter", quant="Q9")


def test_an_empty_name_is_not_the_current_folder(fresh: Path) -> None:
    with pytest.raises(UsageError, match="empty"):
        resolve.resolve(" ")


def test_the_starters_conversion(placed_starter: Path) -> None:
    assert resolve.resolve("starter", prefer="safetensors").format == "gguf"
    converted = folder(starter.safetensors_path())
    assert resolve.resolve("starter", prefer="safetensors").path == converted
    assert resolve.resolve("starter").path == placed_starter


def test_nothing_is_fetched_when_told_not_to(fresh: Path) -> None:
    with pytest.raises(
        ModelError, match=r"(?i)qwen3:8b is not on this machine\. run `qwen models pull qwen3:8b`"
    ):
        resolve.resolve("qwen3:8b", download=False)
    with pytest.raises(ModelError, match="starter is not on this machine"):
        resolve.resolve("starter", download=False)


def test_the_usual_quantisation_is_taken_or_the_one_asked_for(hub: Hub) -> None:
    assert resolve.resolve("qwen3:4b").path.name == "Qwen3-4B-Q4_K_M.gguf"
    assert len(hub.downloads()) == 1
    assert resolve.resolve("qwen3:4b", quant="q8_0").path.name == "Qwen3-4B-Q8_0.gguf"
    assert resolve.resolve("Qwen/Qwen3-4B-GGUF:Q8_0").path.name == "Qwen3-4B-Q8_0.gguf"
    assert resolve.resolve("qwen3:4b").path.name == "Qwen3-4B-Q4_K_M.gguf"
    with pytest.raises(ModelError, match=r"(?i)has no Q2_K\. it has Q4_K_M, Q8_0"):
        resolve.resolve("qwen3:4b", quant="Q2_K")


@pytest.mark.parametrize(
    "reference",
    [
        "https://huggingface.co/my/two-GGUF/blob/main/other-Q8_0.gguf",
        "hf.co/my/two-GGUF/resolve/main/other-Q8_0.gguf?download=true",
        "my/two-GGUF:other-Q8_0.gguf",
    ],
)
def test_the_address_of_a_file_means_that_file(hub: Hub, reference: str) -> None:
    """Of two models of one type in a repository it is the one that was named."""
    (hub.root / "my/two-GGUF").mkdir(parents=True)
    for name in ("first-Q8_0.gguf", "other-Q8_0.gguf", "odd.gguf"):
        gguf_files.write(hub.root / "my/two-GGUF" / name, "qwen3", vocabulary=[name])
    fetched = resolve.resolve(reference)
    assert fetched.path.name == "other-Q8_0.gguf"
    assert resolve.resolve(fetched.label, download=False) == fetched
    assert resolve.resolve("my/two-GGUF:odd.gguf").path.name == "odd.gguf"
    with pytest.raises(ModelError, match=r"no model file none\.gguf\. It has first-Q8_0\.gguf, odd"):
        resolve.resolve("my/two-GGUF:none.gguf")


def test_what_to_pull_has_the_file_type_that_was_named(fresh: Path) -> None:
    with pytest.raises(ModelError, match="Run `qwen models pull qwen3:8b-Q8_0`"):
        resolve.resolve("qwen3:8b-q8_0", download=False)
    with pytest.raises(ModelError, match="Run `qwen models pull a/b:Q8_0`"):
        resolve.resolve("hf.co/a/b:q8_0", download=False)


def test_all_parts_of_a_split_model_are_fetched(hub: Hub) -> None:
    weights = resolve.resolve("qwen2.5:7b")
    assert weights.path.name == "qwen2.5-7b-instruct-q4_k_m-00001-of-00002.gguf"
    assert weights.path.with_name("qwen2.5-7b-instruct-q4_k_m-00002-of-00002.gguf").is_file()
    assert len(hub.downloads()) == 2


def test_a_split_model_of_which_a_part_is_missing_is_not_here(hub: Hub) -> None:
    weights = resolve.resolve("qwen2.5:7b")
    weights.path.with_name("qwen2.5-7b-instruct-q4_k_m-00002-of-00002.gguf").unlink()
    with pytest.raises(ModelError, match="not on this machine"):
        resolve.resolve("qwen2.5:7b", download=False)


def test_a_vision_model_is_fetched_with_its_projector(hub: Hub) -> None:
    weights = resolve.resolve("qwen3-vl:2b")
    assert weights.mmproj and weights.mmproj.name == "mmproj-Qwen3VL-2B-Instruct-F16.gguf"
    assert len(hub.downloads()) == 2


def test_safetensors_are_fetched_with_what_belongs_to_them(hub: Hub) -> None:
    weights = resolve.resolve("qwen3:0.6b", prefer="safetensors")
    names = {path.name for path in weights.path.iterdir()}
    assert names == {"config.json", "tokenizer.json", "model.safetensors"}
    assert resolve.resolve("Qwen/Qwen3-0.6B", prefer="safetensors", download=False) == weights


def test_what_is_here_in_the_other_form_is_not_fetched_again(hub: Hub) -> None:
    gguf = resolve.resolve("qwen3:0.6b")
    hub.log.clear()
    assert resolve.resolve("qwen3:0.6b", prefer="safetensors") == gguf
    assert hub.log == []
    assert resolve.resolve("qwen3:0.6b", prefer="safetensors", strict=True).format == "safetensors"


def test_a_community_repository(hub: Hub) -> None:
    shutil.copytree(hub.root / "Qwen/Qwen3-4B-GGUF", hub.root / "someone/Qwen3-4B-GGUF")
    weights = resolve.resolve("someone/Qwen3-4B-GGUF")
    assert weights.label == "someone/Qwen3-4B-GGUF"
    assert weights.model and weights.model.name == "qwen3:4b"


def test_a_repository_with_nothing_to_run(hub: Hub) -> None:
    (hub.root / "someone/data").mkdir(parents=True)
    (hub.root / "someone/data/README.md").write_text("x")
    with pytest.raises(ModelError, match="has no safetensors weights"):
        resolve.resolve("someone/data")


@pytest.mark.parametrize(
    "name", ["qwen3.8:27b", "Qwen/Qwen3.8-27B", "unsloth/Qwen3.8-27B-GGUF", "Qwen3.8-27B"]
)
def test_todays_models_come_from_a_community_with_their_projector(hub: Hub, name: str) -> None:
    told: set[str] = set()
    fetched = resolve.resolve(name, progress=lambda label, done, whole: told.add(label))
    assert fetched.path.name == "Qwen3.8-27B-UD-Q4_K_XL.gguf"
    assert fetched.mmproj and fetched.mmproj.name == "mmproj-F16.gguf"
    assert fetched.model and fetched.model.name == "qwen3.8:27b"
    assert told == {"qwen3.8:27b (GGUF by unsloth, not by Qwen)"}
    assert not [path for path in hub.log if "mtp-" in path and "resolve" in path]
    assert resolve.resolve(name, download=False) == fetched


def test_parts_in_a_folder_of_their_own_find_the_projector_above_them(hub: Hub) -> None:
    fetched = resolve.resolve("qwen3.5:122b")
    assert fetched.path.name == "Qwen3.5-122B-A10B-UD-Q4_K_XL-00001-of-00002.gguf"
    assert fetched.mmproj and fetched.mmproj.name == "mmproj-F16.gguf"
    assert [(w.label, w.mmproj) for w in resolve.local()] == [("qwen3.5:122b-a10b", fetched.mmproj)]


@pytest.mark.parametrize(
    ("quant", "file"),
    [
        ("Q4_K_M", "Qwen3.8-27B-Q4_K_M.gguf"),
        ("UD-Q4_K_XL", "Qwen3.8-27B-UD-Q4_K_XL.gguf"),
        ("q4_k_xl", "Qwen3.8-27B-UD-Q4_K_XL.gguf"),
    ],
)
def test_file_types_of_a_community_are_known(hub: Hub, quant: str, file: str) -> None:
    assert resolve.resolve("qwen3.8:27b", quant=quant).path.name == file
    assert resolve.resolve(f"unsloth/Qwen3.8-27B-GGUF:{quant}").path.name == file


@pytest.mark.parametrize(
    "name",
    [
        "hf.co/unsloth/Qwen3.8-27B-GGUF:Q4_K_M",
        "https://huggingface.co/unsloth/Qwen3.8-27B-GGUF/blob/main/Qwen3.8-27B-Q4_K_M.gguf",
        "unsloth/Qwen3.8-27B-GGUF:Qwen3.8-27B-Q4_K_M.gguf",
        "qwen3.8:27b-q4_k_m",
        "QWEN3.8:27B-Q4_K_M",
    ],
)
def test_a_file_type_may_be_in_the_name(hub: Hub, name: str) -> None:
    fetched = resolve.resolve(name, prefer="safetensors")
    assert fetched.path.name == "Qwen3.8-27B-Q4_K_M.gguf"
    assert fetched.label == "unsloth/Qwen3.8-27B-GGUF:Q4_K_M"
    assert resolve.resolve(name, quant="q4_k_m", download=False) == fetched
    with pytest.raises(UsageError, match="name two file types"):
        resolve.resolve(name, quant="Q8_0")
    with pytest.raises(ModelError, match="Q4_K_M is a file type of GGUF, this engine needs safetensors"):
        resolve.resolve(name, prefer="safetensors", strict=True)


def test_an_address_is_no_path_and_a_file_name_no_address(fresh: Path) -> None:
    with pytest.raises(ModelError, match="there is no file or folder"):
        resolve.resolve("Qwen3.8-27B-UD-Q4_K_XL.gguf")
    with pytest.raises(ModelError, match="not on this machine"):
        resolve.resolve("hf.co/unsloth/Qwen3.8-27B-GGUF:Qwen3.8-27B-Q4_K_M.gguf", download=False)


def community(hub: Hub, *names: str) -> str:
    """A repository of somebody's with these files."""
    for name in names:
        file = hub.root / "someone/Qwen3.5-9B-GGUF" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        projector = "mmproj" in name
        gguf_files.write(
            file, "clip" if projector else "qwen35", vocabulary=[f"{name} {i}" for i in range(9)]
        )
    return "someone/Qwen3.5-9B-GGUF"


def test_a_file_type_says_that_a_repository_has_gguf_whatever_its_name(hub: Hub) -> None:
    (hub.root / "someone/tuned").mkdir(parents=True)
    gguf_files.write(hub.root / "someone/tuned" / "tuned-Q5_K_M.gguf", "qwen35", vocabulary=["a"] * 9)
    fetched = resolve.resolve("hf.co/someone/tuned:Q5_K_M", prefer="safetensors")
    assert (fetched.path.name, fetched.format) == ("tuned-Q5_K_M.gguf", "gguf")
    assert resolve.resolve("someone/tuned:q5_k_m", download=False) == fetched
    assert [weights.label for weights in resolve.local()] == ["someone/tuned:Q5_K_M"]


def test_a_repository_with_projectors_only(hub: Hub) -> None:
    repo = community(hub, "mmproj-F16.gguf", "Qwen3.5-9B.mmproj-q8_0.gguf")
    with pytest.raises(ModelError, match=r"(?i)holds vision projectors only\. name the repository"):
        resolve.resolve(repo)
    assert hub.downloads() == []


def test_what_goes_with_a_model_is_not_taken_for_one(hub: Hub) -> None:
    repo = community(
        hub,
        "Qwen3.5-9B-Q4_K_M.gguf",
        "Qwen3.5-9B.imatrix.gguf",
        "Qwen3.5-9B.mmproj-f16.gguf",
        "mtp-Q8_0.gguf",
    )
    fetched = resolve.resolve(repo)
    assert fetched.path.name == "Qwen3.5-9B-Q4_K_M.gguf"
    assert fetched.mmproj and fetched.mmproj.name == "Qwen3.5-9B.mmproj-f16.gguf"
    assert len(hub.downloads()) == 2


def test_of_several_models_with_one_file_type_one_is_fetched_whole(hub: Hub) -> None:
    parts = [f"a-Q4_K_M-0000{part}-of-00002.gguf" for part in (1, 2)]
    repo = community(hub, *parts, "b-Q4_K_M.gguf", "strange.gguf", "stranger.gguf")
    assert resolve.resolve(repo).path.name == parts[0]
    assert [line.rpartition("/")[2] for line in hub.downloads()] == parts


def test_a_fetched_model_that_is_not_qwens_is_refused(hub: Hub) -> None:
    (hub.root / "someone/llama-GGUF").mkdir(parents=True)
    gguf_files.write(hub.root / "someone/llama-GGUF/llama-Q4_K_M.gguf", "llama")
    with pytest.raises(ModelError, match="architecture 'llama'"):
        resolve.resolve("someone/llama-GGUF")


def test_what_is_on_this_machine(hub: Hub, placed_starter: Path) -> None:
    resolve.resolve("qwen3:4b")
    resolve.resolve("qwen3:4b", quant="Q8_0")
    resolve.resolve("qwen3:0.6b", prefer="safetensors", strict=True)
    here = {(w.label, w.format, w.quant) for w in resolve.local()}
    assert here == {
        ("starter", "gguf", "Q4_K_M"),
        ("qwen3:4b", "gguf", "Q4_K_M"),
        ("Qwen/Qwen3-4B-GGUF:Q8_0", "gguf", "Q8_0"),
        ("qwen3:0.6b", "safetensors", None),
    }
    for weights in resolve.local():
        again = resolve.resolve(weights.label, prefer=weights.format, strict=True, download=False)
        assert again == weights


def test_other_peoples_models_in_the_cache_are_left_alone(fresh: Path) -> None:
    for name in ("models--meta--llama", "datasets--a--b", "models--openai--whisper"):
        kept = store.cache_folder() / name / "snapshots" / "abc"
        kept.mkdir(parents=True)
        gguf_files.write(kept / "x-Q4_0.gguf", "llama")
    assert resolve.local() == []


def test_a_fine_tune_with_a_name_of_its_own_is_listed(fresh: Path) -> None:
    kept = store.cache_folder() / "models--someone--tune-GGUF" / "snapshots" / "abc"
    kept.mkdir(parents=True)
    gguf_files.write(kept / "tune-Q8_0.gguf", "qwen3")
    (weights,) = resolve.local()
    assert (weights.label, weights.model) == ("someone/tune-GGUF:Q8_0", None)
    assert resolve.resolve(weights.label, download=False) == weights


def test_a_kill_between_files_is_not_a_whole_model(hub: Hub) -> None:
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    source = hub.root / "Qwen/Qwen3-0.6B"
    shutil.copy(source / "model.safetensors", source / "model-00001-of-00002.safetensors")
    (source / "model.safetensors").rename(source / "model-00002-of-00002.safetensors")
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    weights = resolve.resolve("qwen3:0.6b", prefer="safetensors")
    (weights.path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelError, match="not on this machine"):
        resolve.resolve("qwen3:0.6b", prefer="safetensors", download=False)


def test_unreachable_and_nothing_here(fresh: Path) -> None:
    with pytest.raises(DownloadError, match="cannot be reached"):
        resolve.resolve("qwen3:8b")


def test_delete(hub: Hub) -> None:
    resolve.resolve("qwen3:4b")
    assert store.delete("Qwen/Qwen3-4B-GGUF") > 10_000
    assert resolve.local() == []
    with pytest.raises(ModelError, match="not on this machine"):
        store.delete("Qwen/Qwen3-4B-GGUF")
