"""GGUF to safetensors: the same tokens, the same model, whole or not at all."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qwen_cli.errors import ModelError, UsageError
from qwen_cli.models.formats import gguf_import, safetensors_writer

TEXTS = [
    "Hello world, I'm here; they'LL see we'd gone",
    "1234567890 3.14 ½ ²³ Ⅷ ٣٤",
    "你好，世界！今天天气很好。日本語テキスト",
    "안녕하세요 세계, 오늘은 화요일입니다",
    "👩‍👩‍👧‍👦🎉 emoji 🏳️‍🌈",
    "def f(x):\n    return x**2\n\n\n\tpass  # done\r\n\r\n",
    "  lead  and trail  \n \n",
    "مرحبا שלום naïve — “quotes” … £€ \u200b\u00a0\u3000x",
    "<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>",
    "<|repo_name|>r\n<|file_sep|>x.py\n",
    "<|im_start|>user\nhi<|im_end|>\n<tool_call>\n{}</tool_call><|endoftext|>",
    "<|vision_start|><|image_pad|><|vision_end|><|object_ref_start|>",
]


@pytest.fixture(scope="module")
def llama_cpp(starter_gguf: Path) -> Callable[[str, dict[str, Any]], Any]:
    """llama.cpp's own server on the GGUF the conversion was made from."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(starter_gguf)
    params.n_ctx, params.fit_params, params.warmup, params.verbosity = 1024, False, False, -1
    server = xllamacpp.Server(params)

    def post(route: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            server.listening_address + route, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    return post


@pytest.fixture(scope="module")
def tokenizer(starter_safetensors: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(starter_safetensors)


@pytest.mark.parametrize("text", TEXTS)
def test_tokens_are_those_of_llama_cpp(text: str, tokenizer: Any, llama_cpp: Callable[..., Any]) -> None:
    expected = llama_cpp("/tokenize", {"content": text, "parse_special": True})["tokens"]
    assert tokenizer(text)["input_ids"] == expected
    assert tokenizer.decode(expected) == text


def test_decomposed_letters_are_composed(tokenizer: Any) -> None:
    assert tokenizer("e\u0301")["input_ids"] == tokenizer("é")["input_ids"]


def test_template_and_special_tokens_come_from_the_file(tokenizer: Any, starter_gguf: Path) -> None:
    metadata, _ = gguf_import._read([starter_gguf])
    assert tokenizer.chat_template == metadata["tokenizer.chat_template"]
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    assert tokenizer.convert_tokens_to_ids("<|file_sep|>") == 151664
    assert len(tokenizer) == 151665  # the 271 padding rows of the embedding are no tokens


def test_predictions_are_those_of_llama_cpp(
    tokenizer: Any, starter_safetensors: Path, llama_cpp: Callable[..., Any]
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(starter_safetensors, dtype=torch.bfloat16)
    question = [{"role": "user", "content": "Write a Python function that checks whether a number is prime."}]
    prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_dict=False)
    greedy = {"prompt": prompt, "n_predict": 40, "temperature": 0, "repeat_penalty": 1, "return_tokens": True}
    answer = llama_cpp("/completion", greedy)["tokens"]
    assert "def " in tokenizer.decode(answer)
    with torch.inference_mode():
        logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
    same = sum(a == b for a, b in zip(logits.argmax(-1).tolist(), answer, strict=True))
    assert same >= 0.9 * len(answer)


def test_sampling_is_the_model_cards(starter_safetensors: Path) -> None:
    config = json.loads((starter_safetensors / "generation_config.json").read_text())
    assert config["eos_token_id"] == [151645, 151643]
    assert config["pad_token_id"] == 151643
    sampling = {k: config[k] for k in ("do_sample", "temperature", "top_p", "top_k", "repetition_penalty")}
    assert sampling == {
        "do_sample": True,
        "temperature": 0.7,
        "top_p": 0.8,
        "top_k": 20,
        "repetition_penalty": 1.1,
    }


SMALL = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-6,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
SMALL_MODELS = {
    "qwen2": ("Qwen2", SMALL),
    "qwen3": ("Qwen3", SMALL | {"head_dim": 32, "tie_word_embeddings": True}),
    "qwen2moe": (
        "Qwen2Moe",
        SMALL | EXPERTS | {"shared_expert_intermediate_size": 48, "norm_topk_prob": False},
    ),
    "qwen3moe": ("Qwen3Moe", SMALL | EXPERTS | {"head_dim": 32, "norm_topk_prob": True}),
}


def small_model(architecture: str) -> Any:
    import torch
    import transformers

    name, fields = SMALL_MODELS[architecture]
    config = getattr(transformers, f"{name}Config")(**fields, rope_parameters={"rope_theta": 10_000.0})
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()
    for parameter in model.parameters():  # biases and norms too, or a lost one would not show
        torch.nn.init.normal_(parameter, 0.5, 0.2) if parameter.dim() < 2 else torch.nn.init.normal_(
            parameter, 0, 0.1
        )
    return model


def write_gguf(model: Any, architecture: str, path: Path, split: int = 0) -> Path:
    """`model` as llama.cpp's own converter writes it (names of gguf-py's tensor map, experts stacked)."""
    import gguf

    c = model.config
    writer = gguf.GGUFWriter(str(path), architecture, split_max_tensors=split)
    writer.add_block_count(c.num_hidden_layers)
    writer.add_context_length(c.max_position_embeddings)
    writer.add_embedding_length(c.hidden_size)
    writer.add_feed_forward_length(c.intermediate_size)
    writer.add_head_count(c.num_attention_heads)
    writer.add_head_count_kv(c.num_key_value_heads)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(c.rms_norm_eps)
    if "3" in architecture:
        writer.add_key_length(c.head_dim)
    if architecture.endswith("moe"):
        writer.add_expert_count(4)
        writer.add_expert_used_count(2)
    tokens = ["a", "b", "ab", *(f"{i:03d}" for i in range(3, 318)), "<|endoftext|>", "<|im_end|>"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * 318 + [3, 3])
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(319)
    writer.add_pad_token_id(318)
    names = gguf.get_tensor_name_map(
        next(k for k, v in gguf.MODEL_ARCH_NAMES.items() if v == architecture), c.num_hidden_layers
    )
    for name, value in model.state_dict().items():
        if name == "lm_head.weight" and c.tie_word_embeddings:
            continue
        array = value.float().numpy()
        if name.endswith("gate_up_proj"):
            layer, half = name.split(".")[2], array.shape[1] // 2
            writer.add_tensor(f"blk.{layer}.ffn_gate_exps.weight", array[:, :half].copy())
            writer.add_tensor(f"blk.{layer}.ffn_up_exps.weight", array[:, half:].copy())
        elif name.endswith("experts.down_proj"):
            writer.add_tensor(f"blk.{name.split('.')[2]}.ffn_down_exps.weight", array)
        else:
            array = array[0] if "shared_expert_gate" in name else array
            writer.add_tensor(names.get_name(name, try_suffixes=(".weight", ".bias")), array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("architecture", SMALL_MODELS)
def test_each_architecture_computes_the_same(architecture: str, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = small_model(architecture)
    gguf = write_gguf(model, architecture, tmp_path / "small.gguf")
    folder = gguf_import.to_safetensors(gguf, tmp_path / "out")
    converted, report = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16, output_loading_info=True
    )
    assert not report["missing_keys"] and not report["unexpected_keys"]
    ids = torch.arange(20)[None]
    with torch.inference_mode():
        assert torch.equal(converted(ids).logits, model(ids).logits)


def test_split_gguf_and_several_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = small_model("qwen2")
    write_gguf(model, "qwen2", tmp_path / "small.gguf", split=10)
    monkeypatch.setattr(safetensors_writer, "SHARD_BYTES", 50_000)
    first = next(tmp_path.glob("small-00001-of-*.gguf"))
    steps: list[tuple[int, int | None]] = []
    folder = gguf_import.to_safetensors(
        first, tmp_path / "out", progress=lambda label, done, total: steps.append((done, total))
    )
    assert len(list(folder.glob("*.safetensors"))) > 1
    assert steps[-1][0] == steps[-1][1] and steps == sorted(steps)
    converted = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    for name, value in model.state_dict().items():
        assert torch.equal(converted.state_dict()[name], value), name


def test_unknown_architecture_names_the_known_ones(tmp_path: Path) -> None:
    import gguf

    writer = gguf.GGUFWriter(str(tmp_path / "other.gguf"), "llama")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ModelError, match=r"'llama'.*qwen2, qwen2moe, qwen3, qwen3moe"):
        gguf_import.to_safetensors(tmp_path / "other.gguf", tmp_path / "out")


@pytest.mark.parametrize("size", [0, 3, 1_000, 5_000_000, 100_000_000])
def test_truncated_file_leaves_nothing_behind(size: int, starter_gguf: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    with starter_gguf.open("rb") as whole:
        cut.write_bytes(whole.read(size))
    with pytest.raises(ModelError, match=r"truncated|not a GGUF file"):
        gguf_import.to_safetensors(cut, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["cut.gguf"]


def test_full_disk_is_seen_before_anything_is_written(
    starter_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**10, 10**10, 10**8))
    with pytest.raises(ModelError, match=r"needs 1\.3 GB .* 0\.1 GB are free"):
        gguf_import.to_safetensors(starter_gguf, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_interrupted_conversion_leaves_nothing_behind(tmp_path: Path) -> None:
    gguf = write_gguf(small_model("qwen2"), "qwen2", tmp_path / "small.gguf")

    def interrupt(label: str, done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gguf_import.to_safetensors(gguf, tmp_path / "out", progress=interrupt)
    killed = tmp_path / ".out.999999999.partial"  # what a killed process leaves
    killed.mkdir()
    gguf_import.to_safetensors(gguf, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "small.gguf"]


def test_existing_folder_is_not_overwritten(starter_gguf: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UsageError, match="exists already"):
        gguf_import.to_safetensors(starter_gguf, tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "keep"
