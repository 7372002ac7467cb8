"""Every Qwen family, as data: what each model is, where its weights are, how to sample it.

Repositories, licences, contexts and parameters are those of the model cards and config.json files under
https://huggingface.co/Qwen. `context` is what a model reads without rope scaling. Where Qwen publishes no
GGUF of a model, a community's is named: unsloth's, or bartowski's for older models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal


@dataclass(frozen=True)
class Thinking:
    """How a model thinks before it answers.

    `mode`: "switch" can be turned off, "always" cannot. `default` is what the template does when nothing is
    said. `efforts` are the words that its template knows as `reasoning_effort`, the first its default.
    `preserve` is its template's default of `preserve_thinking`, None where there is no such variable.
    `opens` says that the template itself writes the tag that begins thinking; elsewhere the model does.
    """

    mode: Literal["switch", "always"]
    default: bool = True
    efforts: tuple[str, ...] = ()
    preserve: bool | None = None
    opens: bool = True


@dataclass(frozen=True)
class Model:
    """One set of weights. `parameters` and `active` (mixture-of-experts: those used for a token) are counts.

    `sampling` has the names of `engines.protocol.Sampling`; for a model whose thinking can be switched it is
    the one for thinking, `plain_sampling` the one without, `code_sampling` the one for thinking about code
    that has to be exact, where its card has one. `quant` is the GGUF file type taken when none is
    asked for. `gguf_bytes` are those of the model's file without its `mmproj`, as it was published when this
    was written; a community makes its files anew now and then. `only_gguf`: no engine here runs its
    safetensors.
    """

    name: str
    family: str
    generation: str
    parameters: int
    active: int | None
    tasks: tuple[str, ...]
    context: int
    licence: str
    repo: str
    gguf_repo: str | None = None
    gguf_bytes: int | None = None
    quant: str = "Q4_K_M"
    mmproj: str | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    plain_sampling: Mapping[str, Any] | None = None
    code_sampling: Mapping[str, Any] | None = None
    thinking: Thinking | None = None
    fim: bool = False
    vision: bool = False
    base: bool = False
    only_gguf: bool = False

    @property
    def thinking_mode(self) -> Literal["switch", "always"] | None:
        """Return `thinking.mode`; None for a model that does not think."""
        return self.thinking.mode if self.thinking else None

    @property
    def community(self) -> str | None:
        """Return who publishes its GGUF where Qwen does not: "unsloth"."""
        owner = (self.gguf_repo or "Qwen/").partition("/")[0]
        return owner if owner != "Qwen" else None

    def size(self, form: Literal["gguf", "safetensors"]) -> int:
        """Return the bytes of the weights: exact for a published GGUF of the usual quant, else from the
        parameters."""
        if form == "gguf":
            # Q4_K_M takes 4.9 bits a weight in the published files of 7B to 72B.
            return self.gguf_bytes or int(self.parameters * 4.9 / 8)
        return self.parameters * 2  # published in bfloat16


APACHE, QWEN, QWEN_RESEARCH = "Apache-2.0", "Qwen", "Qwen Research"
TONGYI, TONGYI_RESEARCH = "Tongyi Qianwen", "Tongyi Qianwen Research"
QWEN_MAX, QWEN_COMMUNITY = "Qwen3.8-Max", "Qwen Community 1.0"
K = 1024

SWITCH, ALWAYS = Thinking("switch"), Thinking("always")

# Sampling of the model cards and generation_config.json files.
_QWEN25 = {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.05}
_QWEN25_SMALL = {**_QWEN25, "repetition_penalty": 1.1}  # 0.5B and 1.5B
_GREEDY = {"temperature": 0.0}  # Qwen2.5-Math
_THINKS = {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": 0.0}
_PLAIN = {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "min_p": 0.0}
_QWQ = {"temperature": 0.6, "top_p": 0.95, "top_k": 40}
_CODER_NEXT = {"temperature": 1.0, "top_p": 0.95, "top_k": 40}
_VL = {"temperature": 0.1, "top_p": 0.001, "top_k": 1, "repetition_penalty": 1.05}
_VL3 = {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "presence_penalty": 1.5}
_VL3_THINKS = {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "presence_penalty": 0.0}
_THINKS_35 = {"temperature": 1.0, "top_p": 0.95, "top_k": 20, "min_p": 0.0, "presence_penalty": 1.5}
_THINKS_36 = {**_THINKS_35, "presence_penalty": 0.0}
_CODE_35 = {**_THINKS_36, "temperature": 0.6}  # "thinking mode for precise coding tasks"
_PLAIN_35 = {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "min_p": 0.0, "presence_penalty": 1.5}


def _billion(number: float) -> int:
    return round(number * 1e9)


def _family(
    family: str, generation: str, rows: str, *, tasks: str = "chat", context: int, base_context: int = 0,
    repo: str, base_repo: str = "", community: str = "", small: tuple[str, ...] = (),
    sampling: Mapping[str, Any], small_sampling: Mapping[str, Any] | None = None, **same: Any,
) -> list[Model]:  # fmt: skip
    """Return one family, from a table with the columns (`-` for none; quant `-` is Q4_K_M)

        size  parameters/active in billions  licence  bytes of the published GGUF  quant  base: yes

    In `repo`, `{S}` is the size as the hub writes it. `community` publishes the GGUF instead of Qwen, named
    as the repository is; `?` are bytes not looked up.
    """
    models = []
    for row in rows.strip().splitlines():
        size, count, licence, published, quant, base = row.split()
        total, _, active = count.partition("/")
        common: dict[str, Any] = {
            "family": family, "generation": generation, "parameters": _billion(float(total)),
            "active": _billion(float(active)) if active else None, "licence": _LICENCES[licence], **same,
        }  # fmt: skip
        hub = repo.format(S=size)
        gguf_repo = f"{community or 'Qwen'}/{hub.removeprefix('Qwen/')}-GGUF" if published != "-" else None
        models.append(
            Model(
                name=f"{family}:{size.lower()}", tasks=tuple(tasks.split()), context=context, repo=hub,
                gguf_repo=gguf_repo,
                gguf_bytes=int(published.replace("_", "")) if published not in "-?" else None,
                quant=quant if quant != "-" else "Q4_K_M",
                sampling=small_sampling if size in small and small_sampling else sampling, **common,
            )
        )  # fmt: skip
        if base == "yes":
            bare = {**common, "thinking": None, "plain_sampling": None, "code_sampling": None, "mmproj": None}
            models.append(
                Model(
                    name=f"{family}:{size.lower()}-base", tasks=("base",), base=True,
                    context=base_context or context, repo=base_repo.format(S=size), **bare,
                )
            )  # fmt: skip
    return models


_LICENCES = {
    "apache": APACHE, "qwen": QWEN, "research": QWEN_RESEARCH, "tongyi": TONGYI, "tongyi-r": TONGYI_RESEARCH,
    "max": QWEN_MAX, "community": QWEN_COMMUNITY,
}  # fmt: skip

_QWEN15 = _family(
    "qwen1.5", "1.5",
    # 72B and 110B: Qwen's Q4_K_M are raw pieces that llama.cpp cannot read; these are whole files.
    """
    0.5B   0.46  tongyi-r     407_155_552  -       yes
    1.8B   1.84  tongyi-r   1_217_752_928  -       yes
    4B     3.95  tongyi-r   2_455_115_872  -       yes
    7B     7.72  tongyi     4_767_104_224  -       yes
    14B   14.2   tongyi     9_191_034_336  -       yes
    32B   32.5   tongyi    19_698_962_112  -       yes
    72B   72.3   tongyi    35_927_611_744  Q3_K_M  yes
    110B 111     tongyi    41_175_701_952  Q2_K    yes
    """,
    context=32 * K, repo="Qwen/Qwen1.5-{S}-Chat", base_repo="Qwen/Qwen1.5-{S}",
    sampling=_QWEN25,
    small=("0.5B", "1.8B"), small_sampling=_QWEN25_SMALL,
) + _family(
    "qwen1.5", "1.5", "MoE-A2.7B 14.3/2.7 tongyi - - yes", context=8 * K,
    repo="Qwen/Qwen1.5-{S}-Chat", base_repo="Qwen/Qwen1.5-{S}", sampling=_QWEN25,
) + _family(
    "codeqwen1.5", "1.5", "7B 7.25 tongyi-r 4_738_590_464 - yes", tasks="chat code", context=64 * K,
    repo="Qwen/CodeQwen1.5-{S}-Chat", base_repo="Qwen/CodeQwen1.5-{S}",
    sampling=_QWEN25, fim=True,
)  # fmt: skip

_QWEN2 = _family(
    "qwen2", "2",
    """
    0.5B      0.49     apache     397_805_248  -  yes
    1.5B      1.54     apache     986_045_824  -  yes
    7B        7.62     apache   4_683_071_264  -  yes
    57B-A14B 57.4/14   apache  34_853_272_896  -  yes
    72B      72.7      tongyi  47_415_712_640  -  yes
    """,
    context=32 * K, base_context=128 * K, repo="Qwen/Qwen2-{S}-Instruct", base_repo="Qwen/Qwen2-{S}",
    sampling=_QWEN25,
    small=("0.5B", "1.5B"), small_sampling=_QWEN25_SMALL,
)  # fmt: skip

_QWEN25_ALL = _family(
    "qwen2.5", "2.5",
    """
    0.5B   0.49  apache       491_400_032  -  yes
    1.5B   1.54  apache     1_117_320_736  -  yes
    3B     3.09  research   2_104_932_768  -  yes
    """,
    context=32 * K, repo="Qwen/Qwen2.5-{S}-Instruct", base_repo="Qwen/Qwen2.5-{S}",
    sampling=_QWEN25,
    small=("0.5B", "1.5B"), small_sampling=_QWEN25_SMALL,
) + _family(
    "qwen2.5", "2.5",
    """
    7B     7.62  apache     4_683_073_632  -  yes
    14B   14.8   apache     8_988_110_496  -  yes
    32B   32.8   apache    19_851_336_384  -  yes
    72B   72.7   qwen      44_015_343_360  -  yes
    """,
    context=32 * K, base_context=128 * K, repo="Qwen/Qwen2.5-{S}-Instruct", base_repo="Qwen/Qwen2.5-{S}",
    sampling=_QWEN25,
) + _family(
    "qwen2.5-1m", "2.5", "7B 7.62 apache ? - -\n14B 14.8 apache ? - -", tasks="chat long",
    context=1_010_000, repo="Qwen/Qwen2.5-{S}-Instruct-1M", community="bartowski", sampling=_QWEN25,
) + _family(
    "qwen2.5-coder", "2.5",
    """
    0.5B   0.49  apache       491_400_064  -  yes
    1.5B   1.54  apache     1_117_320_768  -  yes
    3B     3.09  research   2_104_932_800  -  yes
    7B     7.62  apache     4_683_073_536  -  yes
    14B   14.8   apache     8_988_110_272  -  yes
    32B   32.8   apache    19_851_335_872  -  yes
    """,
    tasks="chat code", context=32 * K, repo="Qwen/Qwen2.5-Coder-{S}-Instruct",
    base_repo="Qwen/Qwen2.5-Coder-{S}", sampling=_QWEN25,
    small=("0.5B", "1.5B"), small_sampling=_QWEN25_SMALL, fim=True,
) + _family(
    "qwen2.5-math", "2.5",
    """
    1.5B   1.54  apache  ?  -  yes
    7B     7.62  apache  ?  -  yes
    72B   72.7   qwen    ?  -  yes
    """,
    tasks="math", community="bartowski", context=4 * K, repo="Qwen/Qwen2.5-Math-{S}-Instruct",
    base_repo="Qwen/Qwen2.5-Math-{S}", sampling=_GREEDY,
) + _family(
    "qwen2.5-math-rm", "2.5", "72B 72.7 qwen - - -", tasks="reward", context=4 * K,
    repo="Qwen/Qwen2.5-Math-RM-{S}", sampling={},
) + _family(
    "qwen2.5-math-prm", "2.5", "7B 7.62 qwen - - -\n72B 72.7 qwen - - -", tasks="reward", context=4 * K,
    repo="Qwen/Qwen2.5-Math-PRM-{S}", sampling={},
) + _family(
    "qwq", "2.5", "32B 32.8 apache 19_851_335_840 - -", tasks="chat math thinking", context=40 * K,
    repo="Qwen/QwQ-{S}", sampling=_QWQ, thinking=ALWAYS,
)  # fmt: skip

_VISION2 = _family(
    "qwen2-vl", "2", "2B 2.21 apache ? - -\n7B 8.29 apache ? - -\n72B 73.4 tongyi ? - -",
    tasks="chat vision", context=32 * K, repo="Qwen/Qwen2-VL-{S}-Instruct", community="bartowski",
    sampling=_VL, vision=True, mmproj="mmproj-*-f16.gguf",
) + _family(
    # It reasons aloud: in its answer, without a mark.
    "qvq", "2", "72B 73.4 qwen ? - -", tasks="chat math vision", context=32 * K,
    repo="Qwen/QVQ-{S}-Preview", community="bartowski", sampling=_VL, vision=True, mmproj="mmproj-*-f16.gguf",
) + _family(
    "qwen2.5-vl", "2.5",
    """
    3B     3.75  research  ?  -  -
    7B     8.29  apache    ?  -  -
    32B   33.5   apache    ?  -  -
    72B   73.4   qwen      ?  -  -
    """,
    tasks="chat vision", context=128_000, repo="Qwen/Qwen2.5-VL-{S}-Instruct", community="unsloth",
    sampling=_VL, vision=True, mmproj="mmproj-F16.gguf",
)  # fmt: skip

_QWEN3 = _family(
    "qwen3", "3",
    """
    0.6B       0.6       apache      639_446_688  Q8_0  yes
    1.7B       1.7       apache    1_834_426_016  Q8_0  yes
    4B         4.02      apache    2_497_280_256  -     yes
    8B         8.19      apache    5_027_783_488  -     yes
    14B       14.8       apache    9_001_752_960  -     yes
    32B       32.8       apache   19_762_149_024  -     -
    30B-A3B   30.5/3.3   apache   18_556_685_824  -     yes
    235B-A22B 235/22     apache  142_154_074_176  -     -
    """,
    tasks="chat code math thinking", context=40 * K, base_context=32 * K, repo="Qwen/Qwen3-{S}",
    base_repo="Qwen/Qwen3-{S}-Base", sampling=_THINKS,
    plain_sampling=_PLAIN, thinking=Thinking("switch", opens=False),
)  # fmt: skip


def _qwen3_2507() -> list[Model]:
    """Return the July 2025 models: one mode each, and no GGUF of Qwen's own."""
    rows = "4B 4.02 apache ? - -\n30B-A3B 30.5/3.3 apache ? - -\n235B-A22B 235/22 apache ? - -"
    models = []
    for mode, tasks, sampling, thinking in (
        ("Instruct", "chat code math", _PLAIN, None),
        ("Thinking", "chat code math thinking", _THINKS, ALWAYS),
    ):
        for model in _family(
            "qwen3", "3", rows, tasks=tasks, context=256 * K, repo=f"Qwen/Qwen3-{{S}}-{mode}-2507",
            community="unsloth", sampling=sampling, thinking=thinking,
        ):  # fmt: skip
            models.append(replace(model, name=f"{model.name}-{mode.lower()}-2507"))
    return models


_QWEN3_CODER = [
    *_family(
        "qwen3-coder", "3", "30B-A3B 30.5/3.3 apache 18_556_689_568 - -\n480B-A35B 480/35 apache ? - -",
        tasks="chat code", context=256 * K, repo="Qwen/Qwen3-Coder-{S}-Instruct", community="unsloth",
        sampling=_QWEN25, fim=True,
    ),
    Model(
        "qwen3-coder-next:80b-a3b", "qwen3-coder-next", "3", _billion(80), _billion(3), ("chat", "code"),
        256 * K, APACHE, "Qwen/Qwen3-Coder-Next", "Qwen/Qwen3-Coder-Next-GGUF",
        48_410_992_032, sampling=_CODER_NEXT, fim=True,
    ),
    Model(
        "qwen3-coder-next:80b-a3b-base", "qwen3-coder-next", "3", _billion(80), _billion(3), ("base",),
        256 * K, APACHE, "Qwen/Qwen3-Coder-Next-Base", fim=True, base=True,
    ),
]  # fmt: skip


def _two_modes(family: str, prefix: str, rows: str, tasks: str, modes: Any, **same: Any) -> list[Model]:
    """Return a family whose Instruct and Thinking weights are separate, all with a GGUF of Qwen's own."""
    models = []
    for mode, sampling, thinking in modes:
        for model in _family(
            family, "3", rows, tasks=f"{tasks} thinking" if thinking else tasks, context=256 * K,
            repo=f"{prefix}-{{S}}-{mode}", sampling=sampling, thinking=thinking, **same,
        ):  # fmt: skip
            models.append(replace(model, name=f"{model.name}-{mode.lower()}"))
    return models


_QWEN3_NEXT = _two_modes(
    "qwen3-next", "Qwen/Qwen3-Next", "80B-A3B 80/3 apache 48_410_988_384 - -", "chat code math",
    (("Instruct", _PLAIN, None), ("Thinking", _THINKS, ALWAYS)),
)  # fmt: skip


def _qwen3_vl() -> list[Model]:
    rows = """
    2B         2.13      apache    1_107_409_952  -  -
    4B         4.44      apache    2_497_281_664  -  -
    8B         8.77      apache    5_027_784_800  -  -
    32B       33.4       apache   19_762_150_432  -  -
    30B-A3B   31.1/3.3   apache   18_556_687_168  -  -
    235B-A22B 236/22     apache  142_154_075_584  -  -
    """
    modes = (("Instruct", _VL3, None), ("Thinking", _VL3_THINKS, ALWAYS))
    models = _two_modes("qwen3-vl", "Qwen/Qwen3-VL", rows, "chat vision", modes, vision=True)
    return [
        replace(m, mmproj=f"mmproj-{m.repo.removeprefix('Qwen/').replace('Qwen3-VL', 'Qwen3VL')}-F16.gguf")
        for m in models
    ]


# Since February 2026 every model sees, is a hybrid of linear and full attention and has a draft layer of its
# own (multi-token prediction). unsloth's files hold that layer from Qwen3.8 on, and for 3.6 in "…-MTP-GGUF".
_EFFORTS = ("xhigh", "medium", "low")
_SEES: dict[str, Any] = {
    "tasks": "chat code math vision thinking", "context": 256 * K, "community": "unsloth", "vision": True,
    "mmproj": "mmproj-F16.gguf", "plain_sampling": _PLAIN_35, "code_sampling": _CODE_35,
}  # fmt: skip

_QWEN35 = [
    *_family(
        "qwen3.5", "3.5",
        """
        0.8B   0.85  apache    558_772_480  UD-Q4_K_XL  yes
        2B     2.21  apache  1_339_752_704  UD-Q4_K_XL  yes
        """,
        repo="Qwen/Qwen3.5-{S}", base_repo="Qwen/Qwen3.5-{S}-Base", sampling=_THINKS_35,
        thinking=Thinking("switch", default=False), **_SEES,
    ),
    *_family(
        "qwen3.5", "3.5",
        """
        4B         4.54    apache  2_912_109_728  UD-Q4_K_XL  yes
        9B         9.41    apache  5_966_095_584  UD-Q4_K_XL  yes
        27B       27.4     apache  ?              UD-Q4_K_XL  -
        35B-A3B   35.1/3.9   apache  ?              UD-Q4_K_XL  yes
        122B-A10B 122.6/10.2 apache  ?              UD-Q4_K_XL  -
        397B-A17B 396.8/17.8 apache  ?              UD-Q4_K_XL  -
        """,
        repo="Qwen/Qwen3.5-{S}", base_repo="Qwen/Qwen3.5-{S}-Base", sampling=_THINKS_35,
        thinking=SWITCH, **_SEES,
    ),
    *_family(
        "qwen3.6", "3.6",
        """
        27B       27.4     apache  17_612_564_704  UD-Q4_K_XL  -
        35B-A3B   35.1/3.9   apache  22_360_456_160  UD-Q4_K_XL  -
        """,
        repo="Qwen/Qwen3.6-{S}", sampling=_THINKS_36, thinking=Thinking("switch", preserve=False), **_SEES,
    ),
    *_family(
        "qwen3.8", "3.8", "27B 27.4 apache 17_559_178_144 UD-Q4_K_XL -",
        repo="Qwen/Qwen3.8-{S}", sampling=_THINKS_36,
        thinking=Thinking("switch", efforts=_EFFORTS, preserve=True), **_SEES,
    ),
    # Text alone, and its template raises where thinking is switched off. unsloth's guide rounds the bytes.
    *_family(
        "qwen3.8", "3.8", "2.4T-A95B 2419.6/95.2 max 1_310_000_000_000 UD-IQ4_XS -",
        repo="Qwen/Qwen3.8-{S}", tasks="chat code math thinking", context=256 * K, community="unsloth",
        sampling=_THINKS_36, code_sampling=_CODE_35,
        thinking=Thinking("always", efforts=_EFFORTS, preserve=True),
    ),
    # The preview of Qwen4's architecture: 125B and a table of 51B for what its n-grams mean.
    Model(
        "qwen3.8-flash-next:125b-a6b", "qwen3.8-flash-next", "3.8", _billion(177.4), _billion(7.8),
        context=256 * K, licence=QWEN_COMMUNITY, repo="Qwen/Qwen3.8-Flash-Next",
        gguf_repo="unsloth/Qwen3.8-Flash-Next-GGUF", quant="UD-Q4_K_XL", sampling=_THINKS_36,
        thinking=Thinking("switch", efforts=_EFFORTS, preserve=True), vision=True, mmproj="mmproj-F16.gguf",
        tasks=tuple(_SEES["tasks"].split()), plain_sampling=_PLAIN_35, code_sampling=_CODE_35,
    ),
]  # fmt: skip

# Most of these answer nobody (`answers`): they give vectors, scores, transcripts.
_OTHERS = [
    *_family(
        "qwen3-embedding", "3",
        """
        0.6B   0.596 apache  639_150_592  Q8_0  -
        4B     4.02  apache  ?            -     -
        8B     7.57  apache  ?            -     -
        """,
        tasks="embedding", context=32 * K, repo="Qwen/Qwen3-Embedding-{S}", sampling={},
    ),
    *_family(
        "qwen3-reranker", "3", "0.6B 0.596 apache - - -\n4B 4.02 apache - - -\n8B 8.19 apache - - -",
        tasks="reranking", context=32 * K, repo="Qwen/Qwen3-Reranker-{S}", sampling={},
    ),
    *_family(
        "qwen3-vl-embedding", "3", "2B 2.13 apache - - -\n8B 8.77 apache - - -", tasks="embedding",
        context=32 * K, repo="Qwen/Qwen3-VL-Embedding-{S}", sampling={}, vision=True,
    ),
    *_family(
        "qwen3-vl-reranker", "3", "2B 2.13 apache - - -\n8B 8.77 apache - - -", tasks="reranking",
        context=32 * K, repo="Qwen/Qwen3-VL-Reranker-{S}", sampling={}, vision=True,
    ),
    # Answers whether what a person or a model said is safe, in two lines of text.
    *_family(
        "qwen3guard-gen", "3", "0.6B 0.6 apache - - -\n4B 4.02 apache - - -\n8B 8.19 apache - - -",
        tasks="guard", context=32 * K, repo="Qwen/Qwen3Guard-Gen-{S}", sampling=_GREEDY,
    ),
    *_family(
        "qwen3-asr", "3", "0.6B 0.9 apache - - -\n1.7B 2.3 apache - - -", tasks="transcription",
        context=64 * K, repo="Qwen/Qwen3-ASR-{S}-hf", sampling=_GREEDY,  # in the layout of transformers
    ),
    *_family(
        "qwen2-audio", "2", "7B 8.4 apache - - -", tasks="chat audio", context=8 * K,
        repo="Qwen/Qwen2-Audio-{S}-Instruct", sampling={},
    ),
    # Its thinker alone, which reads texts and pictures; nothing here hears, or runs its speech.
    *(
        replace(model, mmproj=f"mmproj-{model.repo.removeprefix('Qwen/')}-f16.gguf")
        for model in _family(
            "qwen2.5-omni", "2.5", "3B 4.4 research ? - -\n7B 8.9 apache ? - -", tasks="chat vision audio",
            context=32 * K, repo="Qwen/Qwen2.5-Omni-{S}", community="ggml-org", sampling={}, vision=True,
            only_gguf=True,
        )
    ),
    *(
        replace(model, name=f"{model.name}-{mode.lower()}")
        for mode in ("Instruct", "Thinking", "Captioner")
        for model in _family(
            "qwen3-omni", "3", "30B-A3B 35.3/3.3 apache - - -", tasks="audio", context=64 * K,
            repo=f"Qwen/Qwen3-Omni-{{S}}-{mode}", sampling={},
        )
    ),
]  # fmt: skip

MODELS: tuple[Model, ...] = (
    *_QWEN35, *_QWEN3, *_qwen3_2507(), *_QWEN3_NEXT, *_QWEN3_CODER, *_qwen3_vl(), *_QWEN25_ALL, *_VISION2,
    *_QWEN2, *_QWEN15, *_OTHERS,
)  # fmt: skip
