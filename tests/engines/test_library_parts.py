"""Private parts of torch, transformers and others that are used here, and how they are called.

None of them is promised to stay. When a release moves one, this says which and who uses it, before a user
meets it in the middle of an answer.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
_NEW = "transformers.generation.continuous_batching"
_SEEING = ("qwen2_vl.Qwen2VL", "qwen2_5_vl.Qwen2_5_VL", "qwen3_vl.Qwen3VL", "qwen3_vl_moe.Qwen3VLMoe")
SEEING = [
    f"transformers.models.{name.split('.')[0]}.modeling_{name.split('.')[0]}:{name.split('.')[1]}"
    for name in _SEEING
]


@dataclass(frozen=True)
class Part:
    """`name` ("module:attribute.attribute") is used in the module `by`, called with so many arguments by
    place (itself counted) and these by name; `None`: it is not called. `says` are texts that its source
    holds, where what is used appears only in an instance."""

    name: str
    by: str
    places: int | None = None
    named: tuple[str, ...] = ()
    says: tuple[str, ...] = ()


PARTS = [
    # typer: what may come next on a command line that is being typed
    Part("typer._completion_classes:BashComplete", "shells"),
    # torch
    Part("torch.backends:mkldnn.enabled", "one_token"),
    Part("torch.cpu:_is_avx512_bf16_supported", "run", 0),
    Part("torch.cpu:_is_amx_tile_supported", "run", 0),
    Part("torch:_dynamo.mark_static_address", "compiled", 1),
    # What attention is computed with, and who computes it.
    Part("transformers:AttentionInterface.register", "one_token", 2),
    Part(
        "transformers.integrations.sdpa_attention:sdpa_attention_forward",
        "one_token",
        5,
        ("scaling", "softcap"),
    ),
    # Attention by parts, with what tells how to join them.
    Part("torch:ops.aten._scaled_dot_product_flash_attention_for_cpu", "dual_chunk"),
    Part("torch:ops.aten._scaled_dot_product_flash_attention", "dual_chunk"),
    Part("torch:ops.aten._scaled_dot_product_efficient_attention", "dual_chunk"),
    # How a sound becomes what a model hears.
    Part("transformers:Qwen2AudioEncoder._get_feat_extract_output_lengths", "audio", 2),
    Part("transformers:ProcessorMixin._process_audio", "audio", 2),
    Part("transformers:PretrainedConfig._attn_implementation", "compiled, transformers_batching"),
    Part(
        "transformers.utils.import_utils:is_flash_attn_2_available", "computing", 0, ("kernels_fallback_ok",)
    ),
    Part(
        "transformers.utils.import_utils:is_flash_attn_3_available", "computing", 0, ("kernels_fallback_ok",)
    ),
    Part("transformers:PreTrainedModel.get_experts_implementation", "prefix_cache", 1),
    Part("transformers:PreTrainedModel.set_experts_implementation", "prefix_cache", 2),
    Part("transformers:PreTrainedModel._no_split_modules", "module_map"),
    Part("transformers.quantizers.base:HfQuantizer.is_compileable", "compiled"),
    # Layers of the KV cache.
    Part("transformers.cache_utils:DynamicLayer.lazy_initialization", "growing_layer", 3),
    Part("transformers.cache_utils:DynamicLayer.update", "growing_layer", 3),
    Part("transformers.cache_utils:DynamicLayer.get_seq_length", "growing_layer", 1),
    Part("transformers.cache_utils:DynamicLayer.crop", "prefix_cache", 2),
    Part("transformers.cache_utils:DynamicCache", "growing_layer", 0, ("config",)),
    Part("transformers.cache_utils:DynamicCache.update", "prefix_cache", 4),
    Part("transformers.cache_utils:DynamicCache.batch_repeat_interleave", "prefix_cache", 2),
    Part("transformers.cache_utils:DynamicCache.batch_select_indices", "prefix_cache", 2),
    Part("transformers.cache_utils:StaticCache", "compiled", 0, ("config", "max_cache_len")),
    Part("transformers.cache_utils:StaticLayer.reset", "compiled", 1),
    # How a token is chosen.
    Part("transformers.generation.logits_process:RepetitionPenaltyLogitsProcessor", "token_choice", 1),
    Part("transformers.generation.logits_process:TemperatureLogitsWarper", "token_choice", 1),
    Part("transformers.generation.logits_process:TopPLogitsWarper", "token_choice", 1),
    Part("transformers.generation.logits_process:MinPLogitsWarper", "token_choice", 1),
    # The loop that computes several requests at once: what chooses its tokens and takes its answers is ours.
    Part(f"{_NEW}.cb_logits_processors:ContinuousBatchingLogitsProcessorList", "transformers_batching", 1),
    Part(
        f"{_NEW}.cb_logits_processors:ContinuousBatchingLogitsProcessorList.prepare_tensor_args",
        "transformers_batching",
        1,
        ("requests_in_batch", "arg_storage"),
        ("has_new_token",),
    ),
    Part(
        f"{_NEW}.cb_logits_processors:ContinuousBatchingLogitsProcessorList.__call__",
        "transformers_batching",
        4,
    ),
    Part(f"{_NEW}.continuous_api:OutputRouter.deliver", "transformers_batching", 2),
    Part(f"{_NEW}.continuous_api:OutputRouter.deliver_batch", "transformers_batching", 2),
    Part(
        f"{_NEW}.continuous_api:ContinuousBatchingManager",
        "transformers_batching",
        says=(
            "self.logit_processor = ",
            "logit_processor=self.logit_processor",
            "self.logit_processor.do_processing",
            "self.output_router = ",
            "output_router=self.output_router",
        ),
    ),
    Part(
        f"{_NEW}.continuous_api:ContinuousBatchingManager.add_request",
        "transformers_batching",
        2,
        ("request_id", "max_new_tokens", "eos_token_id"),
    ),
    Part(f"{_NEW}.continuous_api:ContinuousBatchingManager.cancel_request", "transformers_batching", 2),
    Part(f"{_NEW}.continuous_api:ContinuousBatchingManager.is_running", "transformers_batching", 1),
    Part(f"{_NEW}.continuous_api:ContinuousBatchingManager.start", "transformers_batching", 1),
    Part(
        f"{_NEW}.continuous_api:ContinuousBatchingManager.stop",
        "transformers_batching",
        1,
        ("block", "timeout", "hard_stop"),
    ),
    Part(
        "transformers.generation.configuration_utils:ContinuousBatchingConfig",
        "transformers_batching",
        0,
        (
            "page_size",
            "num_blocks",
            "max_batch_tokens",
            "max_requests_per_batch",
            "use_async_batching",
            "use_cuda_graph",
            "auto_switch_to_flash",
        ),
    ),
    Part("transformers:Qwen2ForCausalLM.init_continuous_batching", "transformers_batching", 3),
    # Eyes: what is encoded when, and where it stands.
    *(
        Part(
            f"{name}Model.get_rope_index",
            "vision",
            2,
            ("mm_token_type_ids", "image_grid_thw", "video_grid_thw"),
        )
        for name in SEEING
    ),
    *(
        Part(f"{name}ForConditionalGeneration.{see}", "vision", 3, ("return_dict",))
        for name in SEEING
        for see in ("get_image_features", "get_video_features")
    ),
    *(Part(f"{name}ForConditionalGeneration", "prefix_cache", says=("self.lm_head",)) for name in SEEING),
    *(Part(f"{name}Model", "prefix_cache", says=("self.language_model",)) for name in SEEING),
    *(
        Part(f"transformers:{name}Processor.{method}", "vision, vision_inputs", places)
        for name in ("Qwen2_5_VL", "Qwen3VL")
        for method, places in (
            ("replace_image_token", 3),
            ("replace_video_token", 3),
            ("get_text_with_replacements", 4),
            ("create_mm_token_type_ids", 2),
        )
    ),
    Part(
        "transformers.video_utils:VideoMetadata",
        "views",
        0,
        ("total_num_frames", "fps", "frames_indices"),
    ),
    # Which classes there are.
    Part("transformers.models.auto.configuration_auto:CONFIG_MAPPING_NAMES", "remote_code"),
    Part(
        "transformers.models.auto.modeling_auto:MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES",
        "transformers_load",
    ),
    Part("transformers:AutoConfig.for_model", "module_map", 1),
    Part("transformers:Qwen2PreTrainedModel.post_init", "reward", 1),
    # Others.
    Part("accelerate.utils:CustomDtype.INT4", "module_map"),
    Part("accelerate.utils:compute_module_sizes", "module_map", 1, ("dtype", "special_dtypes")),
    Part("gguf:GGUFReader._get_field_parts", "convert", 3),
    Part("gguf:GGUFReader._get", "convert", 4),
    Part("gguf:GGUFReader.gguf_scalar_to_np", "convert"),
    Part("qwen_vl_utils.vision_process:calculate_video_frame_range", "video", 3),
    Part("qwen_vl_utils.vision_process:smart_nframes", "video", 1, ("total_frames", "video_fps")),
    Part("qwen_vl_utils.vision_process:to_rgb", "video", 1),
    Part("ctypes:_NamedFuncPointer", "measured"),  # a type, for the checker alone
    Part("os:_exit", "process"),
]
_FOR_CHECKERS = {"ctypes:_NamedFuncPointer"}


def fault(part: Part) -> str | None:
    """What is wrong with `part` in the releases that are installed, in one line."""
    module, _, path = part.name.partition(":")
    release = f"{module.split('.')[0]} {_release(module)}"
    told = f"{part.name} (used by {part.by})"
    try:
        found: Any = importlib.import_module(module)
        for name in path.split("."):
            found = getattr(found, name)
    except (ImportError, AttributeError) as gone:
        return f"{told} is not in {release}: {gone}"
    if part.places is not None:
        try:
            inspect.signature(found).bind(*range(part.places), **dict.fromkeys(part.named))
        except TypeError as other:
            return f"{told} is called in another way in {release}: {other}"
    if part.says:
        source = inspect.getsource(found)
        if lost := [text for text in part.says if text not in source]:
            return f"{told} has no {lost[0]!r} in {release}"
    return None


def _release(module: str) -> str:
    names = {"qwen_vl_utils": "qwen-vl-utils"}
    try:
        return metadata.version(names.get(module.split(".")[0], module.split(".")[0]))
    except metadata.PackageNotFoundError:
        return "of this Python"


@pytest.mark.parametrize(
    "part", [p for p in PARTS if p.name not in _FOR_CHECKERS], ids=lambda part: part.name
)
def test_what_is_used_of_a_library_is_there(part: Part) -> None:
    said = fault(part)
    assert said is None, f"{said}. Adapt it, and the releases in pyproject.toml"


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (Part("transformers.no_such_module:thing", "x"), "is not in transformers 5"),
        (Part("transformers:PreTrainedModel._no_such_part", "x"), "is not in transformers 5"),
        (Part("transformers.cache_utils:DynamicLayer.crop", "x", 5), "is called in another way"),
        (Part("transformers.cache_utils:StaticCache", "x", 0, ("size",)), "is called in another way"),
        (
            Part("transformers.cache_utils:StaticCache", "x", says=("self.no_such_thing",)),
            "has no 'self.no_such",
        ),
    ],
)
def test_what_has_moved_is_told_in_one_line(part: Part, said: str) -> None:
    line = fault(part)
    assert line
    assert said in line
    assert "(used by x)" in line


def test_instances_have_what_is_written_into_them() -> None:
    import torch
    from transformers import Qwen2Config
    from transformers.cache_utils import DynamicCache, DynamicLayer, StaticCache

    config = Qwen2Config(num_hidden_layers=2, hidden_size=8, num_attention_heads=2, num_key_value_heads=1)
    grows, stays = DynamicCache(config=config), StaticCache(config=config, max_cache_len=4)
    assert [type(layer) for layer in grows.layers] == [DynamicLayer] * 2
    token = torch.ones(1, 1, 1, 4)
    for cache in (grows, stays):
        assert not cache.layers[0].is_initialized
        cache.update(token, token, 0)
        assert cache.layers[0].is_initialized
        assert int(cache.layers[0].get_seq_length()) == 1
    assert grows.layers[0].keys.shape == (1, 1, 1, 4)
    assert stays.layers[0].keys.shape == (1, 1, 4, 4)
    assert stays.layers[0].max_cache_len == 4
    assert config._attn_implementation is None or isinstance(config._attn_implementation, str)


def _own_names() -> set[str]:
    """Private names that our own classes and modules have."""
    own: set[str] = set()
    for path in (ROOT / "qwen_cli").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                own.add(node.name)
            elif isinstance(node, ast.arg):
                own.add(node.arg)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                own.add(node.id)
            elif (
                isinstance(node, ast.Attribute)
                and isinstance(node.ctx, ast.Store)
                and ast.unparse(node.value) == "self"
            ):
                own.add(node.attr)
    return own


def _private(name: str | None) -> bool:
    return bool(name and name.startswith("_") and not name.startswith("__"))


def test_every_private_part_in_use_is_in_the_list() -> None:
    own = _own_names()
    listed = {word for part in PARTS for word in (*re.split("[:.]", part.name), *part.named)}
    used: dict[str, str] = {}
    for path in (ROOT / "qwen_cli").rglob("*.py"):
        if "attacks" in path.parts:  # programs that are to fail
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str | None] = []
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) not in ("self", "cls"):
                names = [node.attr]
            elif isinstance(node, ast.keyword):
                names = [node.arg]
            elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("qwen_cli"):
                names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "setattr", "hasattr"):
                second = node.args[1] if len(node.args) > 1 else None
                names = (
                    [second.value]
                    if isinstance(second, ast.Constant) and isinstance(second.value, str)
                    else []
                )
            used |= {
                str(name): f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
                for name in names
                if _private(name)
            }
    assert {name: where for name, where in used.items() if name not in own | listed} == {}


def _wanted() -> dict[str, Requirement]:
    """What pyproject.toml asks for, as it was installed."""
    found = [Requirement(line) for line in metadata.requires("qwen-local") or []]
    return {one.name: one for one in found}


@pytest.mark.parametrize("name", ["torch", "torchvision", "transformers", "gguf"])
def test_releases_end_with_the_minor_one_that_was_tested(name: str) -> None:
    """What pyproject.toml admits has this minor release, and none after it, which nobody has tried."""
    wanted, here = _wanted()[name].specifier, Version(metadata.version(name))
    assert here.public in wanted
    assert f"{here.major}.{here.minor}.99" in wanted
    assert f"{here.major}.{here.minor + 1}.0" not in wanted
    assert f"{here.major + 1}.0.0" not in wanted


def test_torch_and_torchvision_are_pairs_from_2_9_on() -> None:
    torch, vision = _wanted()["torch"].specifier, _wanted()["torchvision"].specifier
    for minor in range(4, 20):
        assert (f"2.{minor}.0" in torch) == (f"0.{minor + 15}.0" in vision), minor
    assert "2.9.0" in torch
    assert "2.8.0" not in torch
    assert "5.23.0" not in _wanted()["transformers"].specifier
