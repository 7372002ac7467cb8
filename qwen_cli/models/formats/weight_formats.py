"""How many bytes a tensor takes in each form: plain, through bitsandbytes, and as llama.cpp quantizes.

llama.cpp gives tensors of one file different types; the rules are those of `llama_tensor_get_type_impl` in
its src/llama-quant.cpp. They meet the sizes of the files that Qwen publishes within 1 %; a test looks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, TypeAlias

from qwen_cli.errors import UsageError

if TYPE_CHECKING:
    from qwen_cli.models.formats.parameters import Counted
    from qwen_cli.models.formats.tensors import Tensor

Engine: TypeAlias = Literal["llamacpp", "transformers"]

# Formats of the transformers engine: bytes of a value that is not quantized.
PLAIN = {"bf16": 2, "fp16": 2, "fp32": 4}
BITSANDBYTES = ("8bit", "4bit")
FOR_TRANSFORMERS = (*PLAIN, *BITSANDBYTES)

# Bits of a weight in each of ggml's block types: `GGML_QUANT_SIZES` of the gguf package.
_BITS = {
    "F32": 32.0, "F16": 16.0, "BF16": 16.0, "Q8_0": 8.5, "Q6_K": 6.5625, "Q5_1": 6.0, "Q5_K": 5.5,
    "Q5_0": 5.5, "Q4_K": 4.5, "Q4_0": 4.5, "IQ4_NL": 4.5, "Q3_K": 3.4375, "Q2_K": 2.625,
}  # fmt: skip
# What most tensors of a file type have, before the exceptions below.
_USUAL = {
    "F32": "F32", "F16": "F16", "BF16": "BF16", "Q8_0": "Q8_0", "Q6_K": "Q6_K", "Q5_K_M": "Q5_K",
    "Q5_K_S": "Q5_K", "Q5_0": "Q5_0", "Q4_K_M": "Q4_K", "Q4_K_S": "Q4_K", "Q4_0": "Q4_0", "Q3_K_M": "Q3_K",
    "Q2_K": "Q2_K",
}  # fmt: skip
GGUF = tuple(_USUAL)
# Every file type there is, as files are named: also unsloth's dynamic ones ("UD-Q4_K_XL"), those with an
# importance matrix ("IQ4_XS") and MXFP4, whose rules are not known here.
FILE_TYPE = (
    r"(?:UD-)?(?:I?Q[1-8](?:_?(?:[0-8]|K|XXS|XS|XL|NL|[SML]))*|BF16|FP?16|F32|MXFP4(?:_MOE)?|TQ[12]_0)"
)
_FILE_TYPE = re.compile(FILE_TYPE, re.IGNORECASE)
_SHARD = re.compile(r"(?:-split)?-(\d{5})-of-(\d{5})$", re.IGNORECASE)
OFFERED = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M")  # those that are published most
# Rows that are no multiple of 256 do not fit the K types: what is taken instead (llama-quant.cpp).
_FALLBACK = {"Q2_K": "IQ4_NL", "Q3_K": "IQ4_NL", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
_KEPT = ("ffn_gate_inp", "ffn_gate_inp_shexp", "ssm_conv1d")  # routers and convolutions stay in float32


def parse(text: str) -> str:
    """Return a format as it is called here ("4bit", "bf16", "Q4_K_M"). Raises `UsageError` with the
    choices."""
    spelled = {"none": "bf16", "bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}
    name = spelled.get(text.strip().lower(), text.strip().lower())
    if name in PLAIN or name in BITSANDBYTES:
        return name
    if is_file_type(name):
        return name.upper()
    raise UsageError(
        f"unknown quantization {text!r}",
        f"choose one of {', '.join((*PLAIN, *BITSANDBYTES))}, or of GGUF {', '.join(GGUF)}",
    )


def is_file_type(text: str) -> bool:
    """Return whether `text` is a file type of GGUF, in any letter case: "q4_k_m", "UD-Q4_K_XL"."""
    return bool(_FILE_TYPE.fullmatch(text))


def without_file_type(name: str) -> tuple[str, str | None]:
    """Split the file type off the end of the name of a model or file, without the number of a part.

    "Qwen3-8B-q4_k_m-00001-of-00002.gguf" → ("Qwen3-8B", "Q4_K_M"), "Qwen3-8B" → ("Qwen3-8B", None).
    """
    stem = without_part(name)
    match = re.search(rf"[-._](?P<type>{_FILE_TYPE.pattern})$", stem, re.IGNORECASE)
    return (stem[: match.start()], match["type"].upper()) if match else (stem, None)


def without_part(name: str) -> str:
    """Return the name of a file without `.gguf` and the number of a part."""
    return _SHARD.sub("", re.sub(r"\.gguf$", "", name, flags=re.IGNORECASE))


def part(name: str) -> int:
    """Return which part of a split model a GGUF file is, counted from 1; 1 for a whole one."""
    match = _SHARD.search(re.sub(r"\.gguf$", "", name, flags=re.IGNORECASE))
    return int(match[1]) if match else 1


def nearest(form: str) -> str:
    """Return `form`, or for one whose rules are not known here (AWQ, FP8, IQ4_XS) the one that is most like
    it."""
    if form in PLAIN or form in BITSANDBYTES or form in _USUAL:
        return form
    bits = re.search(r"[1-8]", form)
    if _is_of_gguf(form):
        width = bits[0] if bits and "16" not in form else "F16"
        return {"1": "Q2_K", "2": "Q2_K", "3": "Q3_K_M", "4": "Q4_K_M", "5": "Q5_K_M", "6": "Q6_K",
                "F16": "F16"}.get(width, "Q8_0")  # fmt: skip
    return "8bit" if bits and bits[0] in "678" else "4bit"


def engine_of(form: str) -> Engine:
    """Return which engine runs weights of a format; a file type whose rules are not known here is GGUF's."""
    return "llamacpp" if _is_of_gguf(form) else "transformers"


def _is_of_gguf(form: str) -> bool:
    """Return whether a format, as it is called here, is GGUF's: those are upper case ("F16"), others lower
    ("fp16", "mxfp4")."""
    return form == form.upper() and is_file_type(form)


def total_bytes(counted: Counted, form: str, rest: str = "bf16") -> int:
    """Return the bytes of all weights. A GGUF comes with its eyes in a file of their own, in F16. `rest` is
    the dtype of what bitsandbytes leaves alone."""
    if engine_of(form) == "llamacpp":
        text = sum(_gguf(tensor, form, counted) * tensor.parameters for tensor in counted.tensors)
        return round((text + sum(_plain_gguf(t) * t.parameters for t in counted.vision)) / 8)
    every = (*counted.tensors, *counted.vision)
    return round(sum(_bits(tensor, form, rest) * tensor.parameters for tensor in every) / 8)


def read_bytes(counted: Counted, form: str, rest: str = "bf16") -> int:
    """Return the bytes of weights that are read for one token of text: those that take part in it. Of a token
    table that is not the output layer too it is one row, of the eyes nothing."""
    tensors = _read_for_text(counted)
    if engine_of(form) == "llamacpp":
        return round(sum(_gguf(tensor, form, counted) * tensor.active for tensor in tensors) / 8)
    return round(sum(_bits(tensor, form, rest) * tensor.active for tensor in tensors) / 8)


def unquantized(counted: Counted, rest: str) -> int:
    """Return the bytes of all tensors that bitsandbytes leaves alone."""
    every = (*counted.tensors, *counted.vision)
    return sum(PLAIN[rest] * tensor.parameters for tensor in every if not tensor.linear)


def left_alone(counted: Counted, rest: str) -> int:
    """Return how many of the bytes read for a token of text bitsandbytes does not quantize."""
    return sum(PLAIN[rest] * tensor.active for tensor in _read_for_text(counted) if not tensor.linear)


def _read_for_text(counted: Counted) -> Iterable[Tensor]:
    return (t for t in counted.tensors if t.name != "token_embd" or counted.tied)


def _bits(tensor: Tensor, form: str, rest: str) -> float:
    """Return the bits of a parameter in the transformers engine."""
    if form in PLAIN:
        return 8 * PLAIN[form]
    if not tensor.linear:
        return 8 * PLAIN[rest]
    if form == "8bit":  # one float32 scale for each row (bitsandbytes `Int8Params.SCB`)
        return 8 + 32 / tensor.columns
    # NF4 with double quantization (QLoRA, arXiv:2305.14314, section 3): 4 bits, an 8-bit scale for 64
    # weights, a float32 one for 256 of those.
    return 4 + 8 / 64 + 32 / (64 * 256)


def _plain_gguf(tensor: Tensor) -> float:
    return _BITS["F32"] if tensor.rows == 1 else _BITS["F16"]


def _gguf(tensor: Tensor, form: str, counted: Counted) -> float:
    """Return the bits of a parameter in a GGUF file of type `form`."""
    if tensor.rows == 1 or tensor.name in _KEPT:
        return _BITS["F32"]
    kind = _kind(tensor, form, counted)
    if kind.endswith("_K") and tensor.columns % 256:
        kind = _FALLBACK[kind]
    if kind not in ("F32", "F16", "BF16") and tensor.columns % 32:
        kind = "F16"
    return _BITS[kind]


def _kind(tensor: Tensor, form: str, counted: Counted) -> str:
    usual = _USUAL[form]
    if usual in ("F32", "F16", "BF16", "Q8_0"):
        return usual
    if tensor.name == "output" or (tensor.name == "token_embd" and counted.tied):
        return "Q6_K" if tensor.columns % 256 == 0 else "Q8_0"
    if tensor.name == "attn_v":
        kind = _value(tensor.layer, form, counted)
        # 80 layers are "70B" there, whose value heads are few and so worth more bits.
        return "Q5_K" if counted.layers == 80 and kind in ("Q3_K", "Q4_K") else kind
    if tensor.name.startswith("ffn_down"):
        return _down(tensor.layer, form, counted.layers)
    if tensor.name == "attn_output" and form in ("Q3_K_M", "Q2_K"):
        return "Q4_K" if form == "Q3_K_M" else "Q3_K"
    return usual


def _value(layer: int, form: str, counted: Counted) -> str:
    if form in ("Q4_K_M", "Q5_K_M") and _more_bits(layer, counted.layers):
        return "Q6_K"
    if form == "Q4_K_S" and layer < 4:
        return "Q5_K"
    if form == "Q3_K_M":
        return "Q5_K" if layer < 2 else "Q4_K"
    if form == "Q2_K":
        return "Q4_K" if counted.query_heads // counted.cache.kv_heads >= 4 else "Q3_K"
    return _USUAL[form]


def _down(layer: int, form: str, layers: int) -> str:
    if form in ("Q4_K_M", "Q5_K_M") and _more_bits(layer, layers):
        return "Q6_K"
    if form == "Q4_K_S" and layer < layers // 8:
        return "Q5_K"
    if form == "Q3_K_M":
        return "Q5_K" if layer < layers // 16 else "Q4_K"
    return "Q3_K" if form == "Q2_K" else _USUAL[form]


def _more_bits(layer: int, layers: int) -> bool:
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2
