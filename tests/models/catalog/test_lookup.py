"""What is known of every Qwen model, and the names it is found by."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_cli.engines.core.base import Sampling
from qwen_cli.errors import ModelError
from qwen_cli.models.catalog import lookup, published
from qwen_cli.models.formats import weight_formats


def test_every_family_is_there() -> None:
    assert {m.family for m in lookup.MODELS} == {
        "qwen1.5", "codeqwen1.5", "qwen2", "qwen2-vl", "qwen2.5", "qwen2.5-1m", "qwen2.5-coder",
        "qwen2.5-math", "qwen2.5-math-rm", "qwen2.5-math-prm", "qwen2.5-vl", "qwq", "qwen3", "qwen3-coder",
        "qwen3-coder-next", "qwen3-next", "qwen3-vl", "qwen3.5", "qwen3.6", "qwen3.8", "qwen3.8-flash-next",
        "qvq", "qwen2-audio", "qwen2.5-omni", "qwen3-omni", "qwen3-asr", "qwen3-embedding", "qwen3-reranker",
        "qwen3-vl-embedding", "qwen3-vl-reranker", "qwen3guard-gen",
    }  # fmt: skip


def test_names_and_repositories_are_unique() -> None:
    assert len({m.name for m in lookup.MODELS}) == len(lookup.MODELS)
    assert len({m.repo for m in lookup.MODELS}) == len(lookup.MODELS)


@pytest.mark.parametrize(
    ("name", "repo"),
    [
        ("qwen2.5-coder:7b", "Qwen/Qwen2.5-Coder-7B-Instruct"),
        ("qwen2.5-coder:7b-base", "Qwen/Qwen2.5-Coder-7B"),
        ("qwen3:8b", "Qwen/Qwen3-8B"),
        ("QWEN3:8B", "Qwen/Qwen3-8B"),
        ("qwen3-8b", "Qwen/Qwen3-8B"),
        ("qwen/qwen3-8b", "Qwen/Qwen3-8B"),
        ("Qwen/Qwen3-8B-GGUF", "Qwen/Qwen3-8B"),
        ("Qwen3-8B-Base", "Qwen/Qwen3-8B-Base"),
        ("qwen3:30b", "Qwen/Qwen3-30B-A3B"),
        ("qwen3:4b-instruct-2507", "Qwen/Qwen3-4B-Instruct-2507"),
        ("qwen3:4b-instruct", "Qwen/Qwen3-4B-Instruct-2507"),
        ("qwen3:235b-thinking", "Qwen/Qwen3-235B-A22B-Thinking-2507"),
        ("qwen2.5:7b-instruct", "Qwen/Qwen2.5-7B-Instruct"),
        ("qwen2.5-vl:3b", "Qwen/Qwen2.5-VL-3B-Instruct"),
        ("qwen2.5vl:3b", "Qwen/Qwen2.5-VL-3B-Instruct"),
        ("qwen3-vl:8b", "Qwen/Qwen3-VL-8B-Instruct"),
        ("qwen3-vl:8b-thinking", "Qwen/Qwen3-VL-8B-Thinking"),
        ("qwen3-coder:30b", "Qwen/Qwen3-Coder-30B-A3B-Instruct"),
        ("qwen3-coder-next", "Qwen/Qwen3-Coder-Next"),
        ("qwen3-next:80b", "Qwen/Qwen3-Next-80B-A3B-Instruct"),
        ("qwen2:57b", "Qwen/Qwen2-57B-A14B-Instruct"),
        ("qwen1.5:moe-a2.7b", "Qwen/Qwen1.5-MoE-A2.7B-Chat"),
        ("qwen2.5-1m:14b", "Qwen/Qwen2.5-14B-Instruct-1M"),
        ("qwen2.5-math-rm:72b", "Qwen/Qwen2.5-Math-RM-72B"),
        ("qwq:32b", "Qwen/QwQ-32B"),
        ("starter", "Qwen/Qwen2.5-Coder-0.5B-Instruct"),
        ("qwen3.8:27b", "Qwen/Qwen3.8-27B"),
        ("Qwen3.8-27B", "Qwen/Qwen3.8-27B"),
        ("qwen3.5:9b", "Qwen/Qwen3.5-9B"),
        ("qwen3.5:0.8b-base", "Qwen/Qwen3.5-0.8B-Base"),
        ("qwen3.6:35b-a3b", "Qwen/Qwen3.6-35B-A3B"),
        ("qwen3.6:35b", "Qwen/Qwen3.6-35B-A3B"),
        ("unsloth/Qwen3.8-27B-GGUF", "Qwen/Qwen3.8-27B"),
        ("Qwen3.8-27B-GGUF", "Qwen/Qwen3.8-27B"),
        ("https://hf-mirror.com/Qwen/Qwen3.5-9B", "Qwen/Qwen3.5-9B"),
        ("qwen3.8:2.4t", "Qwen/Qwen3.8-2.4T-A95B"),
        ("qwen3.8-flash-next", "Qwen/Qwen3.8-Flash-Next"),
        ("qwen3.8:flash-next", "Qwen/Qwen3.8-Flash-Next"),
        ("qvq:72b", "Qwen/QVQ-72B-Preview"),
        ("qwen3-embedding:0.6b", "Qwen/Qwen3-Embedding-0.6B"),
        ("Qwen3-VL-Reranker-8B", "Qwen/Qwen3-VL-Reranker-8B"),
        ("qwen3-omni:30b", "Qwen/Qwen3-Omni-30B-A3B-Instruct"),
        ("qwen2.5-omni:7b", "Qwen/Qwen2.5-Omni-7B"),
    ],
)
def test_names_people_use(name: str, repo: str) -> None:
    found = lookup.find(name)
    assert found and found.repo == repo


@pytest.mark.parametrize(
    ("reference", "name", "quant"),
    [
        ("qwen3.8:27b", "qwen3.8:27b", None),
        ("hf.co/unsloth/Qwen3.5-9B-GGUF:UD-Q4_K_XL", "unsloth/Qwen3.5-9B-GGUF", "UD-Q4_K_XL"),
        ("HF.co/unsloth/Qwen3.5-9B-GGUF:q8_0", "unsloth/Qwen3.5-9B-GGUF", "Q8_0"),
        ("unsloth/Qwen3.5-9B-GGUF:latest", "unsloth/Qwen3.5-9B-GGUF", None),
        ("unsloth/Qwen3.5-9B-GGUF:Qwen3.5-9B-Q4_K_M.gguf", "unsloth/Qwen3.5-9B-GGUF", "Q4_K_M"),
        ("https://huggingface.co/Qwen/Qwen3.8-27B", "Qwen/Qwen3.8-27B", None),
        ("https://huggingface.co/Qwen/Qwen3.8-27B/tree/main", "Qwen/Qwen3.8-27B", None),
        ("https://www.modelscope.cn/models/Qwen/Qwen3.6-27B", "Qwen/Qwen3.6-27B", None),
        (
            "https://huggingface.co/unsloth/Qwen3.5-122B-A10B-GGUF/blob/main/UD-Q4_K_XL/"
            "Qwen3.5-122B-A10B-UD-Q4_K_XL-00001-of-00003.gguf?download=true",
            "unsloth/Qwen3.5-122B-A10B-GGUF",
            "UD-Q4_K_XL",
        ),
        ("qwen3.5:9b-q8_0", "qwen3.5:9b", "Q8_0"),
        ("qwen3.6:35b-a3b-q4_K_M", "qwen3.6:35b-a3b", "Q4_K_M"),
        ("qwen2.5-coder:7b-instruct-q4_K_M", "qwen2.5-coder:7b-instruct", "Q4_K_M"),
        ("Qwen3.8-27B-UD-Q4_K_XL", "Qwen3.8-27B", "UD-Q4_K_XL"),
        ("ollama.com/library/qwen3:8b", "qwen3:8b", None),
        ("qwen/qwen3:8b", "qwen3:8b", None),
        ("qwen3.8:latest", "qwen3.8", None),
        ("my/model", "my/model", None),
        ("modelscope.cn/Qwen/Qwen3-8B-GGUF:q8_0", "Qwen/Qwen3-8B-GGUF", "Q8_0"),
        ("https://modelscope.cn/models/Qwen/Qwen3-8B-GGUF/summary", "Qwen/Qwen3-8B-GGUF", None),
        ("https://modelscope.cn/models/Qwen/Qwen3-8B-GGUF/files?x=1", "Qwen/Qwen3-8B-GGUF", None),
        (
            "https://modelscope.cn/models/Qwen/Qwen3-8B-GGUF/file/view/master/Qwen3-8B-Q8_0.gguf?status=2",
            "Qwen/Qwen3-8B-GGUF",
            "Q8_0",
        ),
        ("https://huggingface.co/my/model/discussions/3#top", "my/model", None),
        ("https://huggingface.co/my/model/raw/main/README.md", "my/model", None),
        ("https://huggingface.co/my/model/blob/main/strange.gguf", "my/model", "strange.gguf"),
        ("my/model-GGUF/sub/strange.gguf", "my/model-GGUF", "sub/strange.gguf"),
        ("hf://my/model", "my/model", None),
        ("hf:my/model:Q4_0", "my/model", "Q4_0"),
        ("ms://Qwen/Qwen3-8B", "Qwen/Qwen3-8B", None),
        ("ollama://qwen3:8b", "qwen3:8b", None),
        ("ollama run qwen3:8b", "qwen3:8b", None),
        ("https://ollama.com/library/qwen3:8b-q8_0", "qwen3:8b", "Q8_0"),
        ("lmstudio-community/Qwen3-8B-GGUF@q8_0", "lmstudio-community/Qwen3-8B-GGUF", "Q8_0"),
        ("my/model@main", "my/model", None),
        ("https://huggingface.co/my/model.git", "my/model", None),
        ("git@hf.co:my/model", "my/model", None),
        ("https://huggingface.co/my/model/commits/main", "my/model", None),
        ("qwen/qwen3-coder-30b", "qwen3-coder-30b", None),
        ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B", None),
        ("qwen3:8b:q8_0", "qwen3:8b", "Q8_0"),
        ("qwen3:8b@Q8_0", "qwen3:8b", "Q8_0"),
        ("qwen3:8b/q8_0", "qwen3:8b", "Q8_0"),
        ("nobody:1b-q4_0", "nobody:1b-q4_0", None),
        ("", "", None),
    ],
)
def test_references_that_people_bring(reference: str, name: str, quant: str | None) -> None:
    assert lookup.spelled(reference) == (name, quant)
    assert lookup.find(reference) == lookup.find(name)


@given(
    st.sampled_from(lookup.MODELS),
    st.sampled_from(["Q4_K_M", "UD-Q4_K_XL", "iq4_xs", "bf16", "Q8_0", "UD-IQ2_XXS", "MXFP4"]),
)
def test_a_file_type_after_any_name_is_told_apart(model: lookup.Model, quant: str) -> None:
    assert lookup.spelled(model.name) == (model.name, None)
    assert lookup.spelled(f"{model.name}-{quant}") == (model.name, quant.upper())
    repo = model.gguf_repo or model.repo
    for reference in (f"{repo}:{quant}", f"hf.co/{repo}:{quant}"):
        assert lookup.spelled(reference) == (repo, quant.upper())
        assert lookup.find(reference) == lookup.find(repo)


def test_each_model_is_found_by_its_own_name_and_repositories() -> None:
    for model in lookup.MODELS:
        for name in (model.name, model.repo, model.repo.lower(), model.gguf_repo or model.repo):
            assert lookup.find(name) == model, name


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("https://example.com/x.gguf", "download the file and give its path"),
        ("http://localhost:8000/v1", "a server is given as `endpoint`"),
        ("ftp://example.com/x", "no model hub's"),
        ("https://huggingface.co/datasets/my/data", "no model's page"),
        ("https://huggingface.co/spaces/my/space", "no model's page"),
        ("https://huggingface.co/my/model/tree/v1.2", "revision 'v1.2'"),
        ("https://huggingface.co/my/model/resolve/pr%2F1/x-Q4_0.gguf", "revision 'pr%2F1'"),
        ("my/model@8f3c", "revision '8f3c'"),
        ("https://huggingface.co/my/model/commit/8f3c", "revision '8f3c'"),
        ("a/b/c", "OWNER/NAME"),
        ("../b", "OWNER/NAME"),
        ("a/b c", "OWNER/NAME"),
        ("a/b?x=1", "OWNER/NAME"),
        ("a//b", "OWNER/NAME"),
    ],
)
def test_addresses_that_are_no_models_say_what_to_give(reference: str, says: str) -> None:
    with pytest.raises(ModelError) as caught:
        lookup.check(reference)
    assert says.lower() in str(caught.value).lower()


@pytest.mark.parametrize(
    "reference",
    [
        "qwen3:8b",
        "Qwen/Qwen3-8B",
        "hf.co/a/b:Q8_0",
        "a/b@q8_0",
        "a/b@main",
        "a/b/sub/x.gguf",
        "starter",
        "a.b/c_d-e.f",
    ],
)
def test_names_of_models_pass(reference: str) -> None:
    lookup.check(reference)


def test_unknown_names_are_not_guessed() -> None:
    assert lookup.find("qwen3:9b") is None
    assert lookup.find("qwen3.8:9b") is None
    assert lookup.find("gpt-4") is None
    assert lookup.find("") is None


def test_misspelt_names_get_close_ones() -> None:
    assert lookup.suggestions("qwen2.5-codr:7b")[0] == "qwen2.5-coder:7b"
    assert lookup.suggestions("qwen25:7b")[0] == "qwen2.5:7b"
    assert "qwen3:8b" in lookup.suggestions("Qwen/Qwen3-8.5B")
    assert lookup.suggestions("qwen3.8")[0] == lookup.suggestions("qwen3.8:latest")[0] == "qwen3.8:27b"
    assert lookup.suggestions("qwen3.8-27b-instruct")[0] == "qwen3.8:27b"
    assert lookup.suggestions("Qwen 3.5 9B")[0] == "qwen3.5:9b"
    assert lookup.suggestions("unsloth/Qwen3.6-72B-GGUF:Q4_K_M")[0] == "qwen3.6:27b"
    assert lookup.suggestions("qwen3")[0] == "qwen3:0.6b"
    assert lookup.suggestions("mistral-large") == []


@pytest.mark.parametrize(
    ("repo", "name"),
    [
        ("unsloth/Qwen3-8B-GGUF", "qwen3:8b"),
        ("bartowski/Qwen_Qwen3-4B-GGUF", "qwen3:4b"),
        ("Qwen/Qwen2.5-7B-Instruct-AWQ", "qwen2.5:7b"),
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4", "qwen2.5:7b"),
        ("Qwen/Qwen3-32B-FP8", "qwen3:32b"),
        ("unsloth/Qwen3.6-27B-MTP-GGUF", "qwen3.6:27b"),
        ("nvidia/Qwen3.5-35B-A3B-NVFP4", "qwen3.5:35b-a3b"),
        ("mlx-community/Qwen3.8-27B-4bit", "qwen3.8:27b"),
        ("hf.co/unsloth/Qwen3.5-9B-GGUF:UD-Q4_K_XL", "qwen3.5:9b"),
        ("/models/Qwen3.8-27B-UD-Q4_K_XL-00001-of-00002.gguf", "qwen3.8:27b"),
    ],
)
def test_other_forms_of_a_model_are_related_to_it(repo: str, name: str) -> None:
    found = lookup.related(repo)
    assert found and found.name == name


def test_unrelated_repositories_are_not() -> None:
    assert lookup.related("meta-llama/Llama-3.1-8B") is None


# From the LICENSE files and model cards on the hub.
@pytest.mark.parametrize(
    ("name", "licence"),
    [
        ("qwen2.5:0.5b", "Apache-2.0"), ("qwen2.5:3b", "Qwen Research"), ("qwen2.5:7b", "Apache-2.0"),
        ("qwen2.5:72b", "Qwen"), ("qwen2.5:72b-base", "Qwen"), ("qwen2.5-coder:3b", "Qwen Research"),
        ("qwen2.5-coder:32b", "Apache-2.0"), ("qwen2.5-math:72b", "Qwen"), ("qwen2.5-vl:3b", "Qwen Research"),
        ("qwen2.5-vl:7b", "Apache-2.0"), ("qwen2.5-vl:72b", "Qwen"), ("qwen2:72b", "Tongyi Qianwen"),
        ("qwen2:7b", "Apache-2.0"), ("qwen1.5:0.5b", "Tongyi Qianwen Research"),
        ("qwen1.5:14b", "Tongyi Qianwen"), ("qwen2-vl:72b", "Tongyi Qianwen"), ("qwq:32b", "Apache-2.0"),
    ],
)  # fmt: skip
def test_licences_differ_by_size(name: str, licence: str) -> None:
    model = lookup.find(name)
    assert model and model.licence == licence


def test_all_of_qwen3_and_later_is_apache_but_the_largest_of_38() -> None:
    others = {
        m.name: m.licence for m in lookup.MODELS if m.generation[0] == "3" and m.licence != "Apache-2.0"
    }
    assert others == {
        "qwen3.8:2.4t-a95b": "Qwen3.8-Max",
        "qwen3.8-flash-next:125b-a6b": "Qwen Community 1.0",
    }


def test_sampling_follows_the_model_cards() -> None:
    def sampling(name: str) -> dict[str, float]:
        model = lookup.find(name)
        assert model
        return dict(model.sampling)

    assert sampling("qwen2.5:7b") == {
        "temperature": 0.7,
        "top_p": 0.8,
        "top_k": 20,
        "repetition_penalty": 1.05,
    }
    assert sampling("qwen2.5-coder:0.5b")["repetition_penalty"] == 1.1
    assert sampling("qwen2.5-math:7b") == {"temperature": 0.0}
    assert sampling("qwen3:8b") == {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": 0.0}
    assert sampling("qwen3:4b-instruct-2507")["temperature"] == 0.7
    assert sampling("qwen3:4b-thinking-2507")["temperature"] == 0.6
    assert sampling("qwen3-coder:30b")["repetition_penalty"] == 1.05
    assert sampling("qwen3-vl:8b-instruct")["presence_penalty"] == 1.5
    assert sampling("qwen2.5-vl:7b")["top_k"] == 1
    assert sampling("qwen3:8b-base") == {}
    thinking = {"temperature": 1.0, "top_p": 0.95, "top_k": 20, "min_p": 0.0}
    assert sampling("qwen3.5:9b") == {**thinking, "presence_penalty": 1.5}
    assert sampling("qwen3.6:27b") == sampling("qwen3.8:27b") == {**thinking, "presence_penalty": 0.0}
    for name in ("qwen3.5:9b", "qwen3.6:35b-a3b", "qwen3.8:27b", "qwen3.8:2.4t-a95b"):
        found = lookup.find(name)
        assert found and found.code_sampling == {**thinking, "temperature": 0.6, "presence_penalty": 0.0}
    plain = lookup.find("qwen3.8:27b")
    assert plain and plain.plain_sampling == {
        "temperature": 0.7, "top_p": 0.8, "top_k": 20, "min_p": 0.0, "presence_penalty": 1.5,
    }  # fmt: skip


def test_sampling_has_only_names_that_engines_know() -> None:
    known = {f.name for f in fields(Sampling)}
    for model in lookup.MODELS:
        assert set(model.sampling) | set(model.plain_sampling or {}) <= known


def test_no_thinking_model_is_greedy() -> None:
    for model in lookup.MODELS:
        if model.thinking:
            assert model.sampling["temperature"] > 0, model.name


def test_thinking_modes() -> None:
    expected = {
        "qwen3:8b": "switch", "qwen3:8b-base": None, "qwen3:4b-instruct-2507": None,
        "qwen3:4b-thinking-2507": "always", "qwq:32b": "always", "qwen2.5:7b": None, "qwen3-coder:30b": None,
        "qwen3-vl:8b-thinking": "always", "qwen3.8:2.4t-a95b": "always", "qwen3.8:27b": "switch",
        "qvq:72b": None,
    }  # fmt: skip
    assert {name: getattr(lookup.find(name), "thinking_mode", "?") for name in expected} == expected


# From the chat templates: small ones think when told to, later ones take an effort and keep what was thought.
@pytest.mark.parametrize(
    ("name", "default", "efforts", "preserve"),
    [
        ("qwen3:8b", True, (), None),
        ("qwen3.5:0.8b", False, (), None),
        ("qwen3.5:2b", False, (), None),
        ("qwen3.5:4b", True, (), None),
        ("qwen3.6:27b", True, (), False),
        ("qwen3.8:27b", True, ("xhigh", "medium", "low"), True),
        ("qwen3.8:2.4t", True, ("xhigh", "medium", "low"), True),
    ],
)
def test_how_models_think(name: str, default: bool, efforts: tuple[str, ...], preserve: bool | None) -> None:
    model = lookup.find(name)
    assert model and model.thinking
    assert (model.thinking.default, model.thinking.efforts, model.thinking.preserve) == (
        default, efforts, preserve,
    )  # fmt: skip


def test_where_qwen_has_no_gguf_a_community_is_named() -> None:
    def gguf(name: str) -> tuple[str | None, str | None]:
        model = lookup.find(name)
        assert model
        return model.gguf_repo, model.community

    assert gguf("qwen3:8b") == ("Qwen/Qwen3-8B-GGUF", None)
    assert gguf("qwen3.8:27b") == ("unsloth/Qwen3.8-27B-GGUF", "unsloth")
    assert gguf("qwen3:4b-thinking-2507") == ("unsloth/Qwen3-4B-Thinking-2507-GGUF", "unsloth")
    assert gguf("qwen2.5-math:7b") == ("bartowski/Qwen2.5-Math-7B-Instruct-GGUF", "bartowski")
    assert gguf("qwen2.5-math-rm:72b") == (None, None)
    assert gguf("qwen3.5:9b-base") == (None, None)


def test_every_coder_fills_in_the_middle_and_nothing_else_says_so() -> None:
    for model in lookup.MODELS:
        assert model.fim == ("code" in model.family), model.name


def test_vision_models_with_a_gguf_name_their_projector() -> None:
    for model in lookup.MODELS:
        late = model.generation in ("3.5", "3.6", "3.8") and model.name != "qwen3.8:2.4t-a95b"
        assert model.vision == ("-vl" in model.family or model.family in ("qvq", "qwen2.5-omni") or late)
        assert bool(model.mmproj) == bool(model.vision and model.gguf_repo), model.name
    found = lookup.find("qwen3-vl:8b")
    assert found and found.mmproj == "mmproj-Qwen3VL-8B-Instruct-F16.gguf"


def test_the_usual_file_type_is_among_the_published_ones() -> None:
    published = {
        "qwen2.5:7b": "qwen2.5-7b-instruct-q4_k_m-00001-of-00002.gguf",
        "qwen2.5-coder:7b": "qwen2.5-coder-7b-instruct-q4_k_m.gguf",
        "qwen3:8b": "Qwen3-8B-Q4_K_M.gguf",
        "qwen3:0.6b": "Qwen3-0.6B-Q8_0.gguf",
        "qwen3:235b-a22b": "Qwen3-235B-A22B-Q4_K_M-00001-of-00005.gguf",
        "qwen3-vl:8b": "Qwen3VL-8B-Instruct-Q4_K_M.gguf",
        "qwen3-coder-next": "Qwen3-Coder-Next-Q4_K_M-00001-of-00004.gguf",
        "qwen1.5:0.5b": "qwen1_5-0_5b-chat-q4_k_m.gguf",
        "qwen2:1.5b": "qwen2-1_5b-instruct-q4_k_m.gguf",
        "codeqwen1.5:7b": "codeqwen-1_5-7b-chat-q4_k_m.gguf",
        "qwq:32b": "qwq-32b-q4_k_m.gguf",
        "qwen3.8:27b": "Qwen3.8-27B-UD-Q4_K_XL.gguf",
        "qwen3:4b-instruct-2507": "Qwen3-4B-Instruct-2507-Q4_K_M.gguf",
        "qwen2.5-vl:7b": "Qwen2.5-VL-7B-Instruct-Q4_K_M.gguf",
        "qwen3.8:2.4t": "Qwen3.8-2.4T-A95B-UD-IQ4_XS-00001-of-00030.gguf",
        "qwen3-embedding:0.6b": "Qwen3-Embedding-0.6B-Q8_0.gguf",
    }
    for name, file in published.items():
        model = lookup.find(name)
        assert model and weight_formats.without_file_type(file)[1] == model.quant, name


def test_sizes_are_in_bytes() -> None:
    model = lookup.find("qwen2.5-coder:7b")
    assert model
    assert model.size("gguf") == 4_683_073_536
    assert model.size("safetensors") == 2 * model.parameters
    unpublished = lookup.find("qwen2.5-math:7b")
    assert unpublished and 4e9 < unpublished.size("gguf") < 5.2e9


def test_a_download_has_the_projector_too() -> None:
    model = lookup.find("qwen3.8:27b")
    assert model
    # unsloth/Qwen3.8-27B-GGUF: mmproj-F16.gguf has 927,607,488 bytes, its header and float32 biases too.
    projector = published.download_bytes(model, "gguf") - model.size("gguf")
    assert projector == pytest.approx(927_607_488, rel=0.01)
    blind = lookup.find("qwen3:8b")
    assert blind and published.download_bytes(blind, "gguf") == 5_027_783_488


def test_looking_a_name_up_imports_nothing_heavy() -> None:
    probe = (
        "import sys; from qwen_cli.models.catalog import lookup as catalog; assert catalog.find('qwen3:8b');"
        "print(sorted({'torch','transformers','huggingface_hub','rich','httpx'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
