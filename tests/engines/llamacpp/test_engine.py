"""llama.cpp in the process: what the contract does not ask of every engine."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from qwen_cli.engines.core.base import Piece, Sampling
from qwen_cli.engines.llamacpp import load
from qwen_cli.engines.llamacpp.engine import LlamaCpp
from qwen_cli.errors import EngineError, QwenError, UsageError
from qwen_cli.models.formats import architecture
from qwen_cli.models.planning.describe import of_weights
from qwen_cli.models.planning.hardware import Machine
from qwen_cli.models.planning.plan import make
from tests.engines.conftest import CONTEXT, Served, weights

GREEDY = Sampling(temperature=0, max_tokens=16)
SEA = [{"role": "user", "content": "Write one sentence about the sea."}]

# What matters of Qwen3's template: the switch, and past thinking. The tags stand alone: the starter has no
# token for them, and a line break would become one with the bracket.
THINKING_TEMPLATE = """\
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.role == 'assistant' and message.reasoning_content %}
{{- '<think>' + message.reasoning_content + '</think>\\n\\n' }}
{%- endif %}
{{- message.content + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}
{{- '<think></think>\\n\\n' }}
{%- else %}
{{- '<think>' }}
{%- endif %}
{%- endif %}
"""


def text(pieces: list[Piece], kind: str = "answer") -> str:
    return "".join(piece.text for piece in pieces if piece.kind == kind)


def test_greedy_equals_llamacpps_own_server(llamacpp: LlamaCpp, served: Served) -> None:
    import httpx

    answer = httpx.post(
        f"{served.url}/v1/chat/completions",
        headers={"Authorization": f"Bearer {served.key}"},
        json={"messages": SEA, "temperature": 0, "max_tokens": 16},
        timeout=120,
    ).json()

    assert text(list(llamacpp.chat(SEA, sampling=GREEDY))) == answer["choices"][0]["message"]["content"]


def test_the_listener_wants_the_key_and_shows_no_slots(llamacpp: LlamaCpp) -> None:
    import httpx

    address = llamacpp.slot.server.listening_address
    assert address.startswith("http://127.0.0.1:")
    assert httpx.post(f"{address}/tokenize", json={"content": "x"}).status_code == 401
    assert (
        httpx.get(f"{address}/", headers={"Authorization": f"Bearer {llamacpp.slot.key}"}).status_code == 404
    )


def test_a_prefill_is_cancelled_between_batches(thinker: LlamaCpp) -> None:
    """Closing returns at once, and the next request finds little more than a batch of the long prompt."""
    long = "".join(f"{n} bottles of beer on the wall, " for n in range(95))
    assert thinker.count_tokens(long) > 7 * 128
    beginning = long[:1000]
    assert thinker.count_tokens(beginning) > 2 * 128
    chunks = thinker.slot.stream("handle_completions", thinker._completion_request(long, GREEDY))
    next(chunks)  # the report that precedes the first batch
    chunks.close()

    pieces = list(thinker.complete(beginning, sampling=Sampling(temperature=0, max_tokens=1)))

    assert pieces[-1].usage
    assert pieces[-1].usage.cached_tokens <= 2 * 128


def test_warm_lanes_begin_with_the_cache_of_the_engine(llamacpp: LlamaCpp) -> None:
    prompt = llamacpp.render([{"role": "user", "content": "Tell of a fox and a hen. " * 12}])
    sampling = Sampling(temperature=0, max_tokens=4)
    (alone,) = llamacpp.sample(prompt, 1, sampling=sampling)
    lanes = llamacpp.lanes(3, warm=True)
    with ThreadPoolExecutor(len(lanes)) as threads:
        told = list(threads.map(lambda lane: lane.sample(prompt, 1, sampling=sampling)[0], lanes))
    assert [one.text for one in told] == [alone.text] * 3
    assert [one.usage.cached_tokens for one in told] == [alone.usage.prompt_tokens - 1] * 3


class TestState:
    def test_a_saved_conversation_is_found_again_by_another_process(
        self, llamacpp: LlamaCpp, starter_gguf: Path, tmp_path: Path
    ) -> None:
        pieces = list(llamacpp.chat(SEA, sampling=GREEDY))
        file = tmp_path / "deep" / "session.kv"
        assert llamacpp.save_state(file)
        turns = [
            *SEA,
            {"role": "assistant", "content": text(pieces)},
            {"role": "user", "content": "And one about the wind."},
        ]
        program = f"""
import json, sys
from pathlib import Path
from tests.engines.conftest import weights
from qwen_cli.engines.llamacpp.engine import LlamaCpp
from qwen_cli.engines.core.base import Sampling
with LlamaCpp(weights(Path(sys.argv[1])), context={CONTEXT}) as engine:
    loaded = engine.load_state(Path(sys.argv[2]))
    *_, last = engine.chat(json.loads(sys.argv[3]), sampling=Sampling(temperature=0, max_tokens=2))
    print(json.dumps([loaded, last.usage.cached_tokens]))
"""
        run = subprocess.run(
            [sys.executable, "-c", program, str(starter_gguf), str(file), json.dumps(turns)],
            capture_output=True,
            text=True,
            check=True,
        )

        loaded, cached = json.loads(run.stdout)
        assert loaded
        assert cached >= llamacpp.count_tokens(SEA)
        assert run.stderr == ""

    def test_files_that_do_not_belong_are_refused(self, llamacpp: LlamaCpp, tmp_path: Path) -> None:
        list(llamacpp.chat(SEA, sampling=GREEDY))
        good, bad = tmp_path / "good.kv", tmp_path / "bad.kv"
        assert llamacpp.save_state(good)
        whole = good.read_bytes()

        assert not llamacpp.load_state(tmp_path / "missing.kv")
        for content in (b"", b"nonsense", whole[: len(whole) // 2], whole[1:]):
            bad.write_bytes(content)
            assert not llamacpp.load_state(bad)
        owner = llamacpp._owner().encode()
        bad.write_bytes(whole.replace(owner, owner[::-1]))  # another model's
        assert not llamacpp.load_state(bad)
        assert llamacpp.load_state(good)


class TestLoading:
    @pytest.fixture
    def damaged(self, starter_gguf: Path, tmp_path: Path) -> Path:
        path = tmp_path / "damaged.gguf"
        with starter_gguf.open("rb") as file:
            path.write_bytes(file.read(20_000_000))
        return path

    def test_a_truncated_file_is_named(self, damaged: Path) -> None:
        with pytest.raises(QwenError, match="truncated"):
            LlamaCpp(weights(damaged))

    def test_llamacpps_own_reason_is_given_and_nothing_is_printed(
        self, damaged: Path, starter_gguf: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """What the header check lets through, llama.cpp explains."""
        with pytest.raises(EngineError) as fault:
            params = load.parameters(
                weights(starter_gguf),  # of the damaged file nothing can be read
                context=512,
                adapters=(),
                threads=None,
                parallel=1,
                slots=tmp_path,
                key="k",
            )
            params.model.path = str(damaged)
            load.start(params, weights(damaged))

        assert "not within the file bounds" in fault.value.message
        assert "\n" not in fault.value.message
        assert fault.value.hint
        assert capfd.readouterr() == ("", "")

    def test_loading_and_answering_print_nothing(
        self, starter_gguf: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        with LlamaCpp(weights(starter_gguf), context=512) as engine:
            list(engine.complete("one, two,", sampling=Sampling(max_tokens=2)))
            with pytest.raises(EngineError):
                list(engine.chat(SEA, schema={"type": "nonsense"}))

        assert capfd.readouterr() == ("", "")

    def test_a_context_beyond_the_models_is_refused(self, starter_gguf: Path) -> None:
        with pytest.raises(UsageError, match="32,768"):
            LlamaCpp(weights(starter_gguf), context=40_000)

    def test_the_context_is_what_was_asked_for_rounded_up(self, starter_gguf: Path) -> None:
        shape = architecture.read(starter_gguf)

        assert load.context_size(weights(starter_gguf), shape, 300) == 512
        assert load.context_size(weights(starter_gguf), shape, None) == 16_384

    def test_an_adapter_that_is_not_gguf_is_refused(self, starter_gguf: Path, tmp_path: Path) -> None:
        adapter = tmp_path / "adapter_model.safetensors"
        adapter.write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")

        with pytest.raises(UsageError, match="not a GGUF adapter"):
            LlamaCpp(weights(starter_gguf), context=512, adapters=[adapter])
        with pytest.raises(UsageError, match="no adapter"):
            LlamaCpp(weights(starter_gguf), context=512, adapters=[tmp_path / "missing"])


def test_eight_bits_answer_alike_and_take_what_was_planned(starter_gguf: Path) -> None:
    """Anonymous memory: the weights are mapped. llama.cpp clears the whole cache as it loads."""
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc")
    program = f"""
import json, sys
from pathlib import Path
from tests.engines.conftest import weights
from qwen_cli.engines.llamacpp.engine import LlamaCpp
from qwen_cli.engines.core.base import Sampling
engine = LlamaCpp(weights(Path(sys.argv[1])), context=32_768, kv=sys.argv[2])
pieces = list(engine.chat({SEA!r}, sampling=Sampling(temperature=0, max_tokens=12)))
memory = [int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("RssAnon")][0]
print(json.dumps([memory * 1024, "".join(piece.text for piece in pieces)]))
"""

    def ran(kv: str) -> tuple[int, str]:
        command = [sys.executable, "-c", program, str(starter_gguf), kv]
        memory, answer = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        return memory, answer

    machine = Machine("any", 64 * 10**9, 60 * 10**9, 2, 24e9)
    described = of_weights(weights(starter_gguf))
    whole, packed = (make(described, machine, context=32_768, kv=kv) for kv in ("f16", "q8_0"))
    (whole_memory, answer), (packed_memory, same) = ran("f16"), ran("q8_0")
    assert answer == same
    assert whole_memory - packed_memory == pytest.approx(whole.cache - packed.cache, rel=0.05)
    assert packed_memory == pytest.approx(packed.memory - packed.weights, rel=0.25)


def test_memory_over_the_bare_engine(starter_gguf: Path) -> None:
    """At most 80 MB more than xllamacpp with its defaults, after the same answer."""
    report = "print([int(l.split()[1]) for l in open('/proc/self/status') if l.startswith('VmHWM')][0])"
    bare = f"""
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.verbosity = sys.argv[1], -1
server = xllamacpp.Server(params)
server.handle_chat_completions({{"messages": {SEA!r}, "max_tokens": 4, "stream": True}}, lambda chunk: None)
{report}
"""
    ours = f"""
import sys
from pathlib import Path
from tests.engines.conftest import weights
from qwen_cli.engines.llamacpp.engine import LlamaCpp
from qwen_cli.engines.core.base import Sampling
engine = LlamaCpp(weights(Path(sys.argv[1])))
list(engine.chat({SEA!r}, sampling=Sampling(max_tokens=4)))
{report}
"""
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc")

    def kilobytes(program: str) -> int:
        command = [sys.executable, "-c", program, str(starter_gguf)]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert kilobytes(ours) - kilobytes(bare) <= 80 * 1024


@pytest.fixture(scope="module")
def thinker(starter_gguf: Path) -> Iterator[LlamaCpp]:
    """The starter's weights under a thinking template: what they think is nonsense, not where it goes."""
    with LlamaCpp(weights(starter_gguf), context=1024, chat_template=THINKING_TEMPLATE) as engine:
        yield engine


class TestThinking:
    def test_the_template_tells(self, thinker: LlamaCpp) -> None:
        assert thinker.capabilities.thinking == "switch"

    def test_thinking_is_apart_from_the_answer(self, thinker: LlamaCpp) -> None:
        on = list(thinker.chat(SEA, sampling=GREEDY, thinking=True))
        off = list(thinker.chat(SEA, sampling=GREEDY, thinking=False))

        assert text(on, "thinking")
        assert not text(on)
        assert text(off)
        assert not text(off, "thinking")

    def test_a_budget_ends_thinking_with_a_word_to_the_model(self, thinker: LlamaCpp) -> None:
        pieces = list(thinker.chat(SEA, sampling=Sampling(temperature=0, max_tokens=60), thinking=8))

        own, message = text(pieces, "thinking").split("\n\nConsidering the limited time by the user")
        assert message.rstrip() == ", I have to give the solution based on the thinking directly now."
        assert 0 < thinker.count_tokens(own) <= 8
        assert pieces[-1].usage
        assert pieces[-1].usage.stop_reason == "stop"


def test_an_engine_that_was_never_asked_closes(starter_gguf: Path) -> None:
    """In a process of its own: where it goes wrong it waits for ever, out of Python's reach."""
    program = (
        "import sys\nfrom qwen_cli.engines.llamacpp.engine import LlamaCpp\n"
        "from qwen_cli.models.hub import resolve as reference\n"
        "for _ in range(4):\n    LlamaCpp(reference.resolve(sys.argv[1]), context=512).close()\n"
    )
    subprocess.run([sys.executable, "-c", program, str(starter_gguf)], timeout=120, check=True)


class TestWhatIsToldOnTheWay:
    """`return_progress`, `timings_per_token`, `post_sampling_probs`, `cache_prompt`: llama.cpp's own."""

    def test_a_prompt_is_followed_and_its_answer_timed(self, quick_llamacpp: LlamaCpp) -> None:
        told = {"return_progress": True, "timings_per_token": True, "cache_prompt": False}
        prompt = "one two three four"
        pieces = list(quick_llamacpp.complete(prompt, sampling=Sampling(max_tokens=3, extras=told)))

        read = [piece.progress for piece in pieces if piece.progress and not piece.text]
        tokens = quick_llamacpp.count_tokens(prompt)
        assert [(one.read_tokens, one.prompt_tokens) for one in read] == [(0, tokens), (tokens, tokens)]
        answered = [piece.progress.generated_tokens for piece in pieces if piece.progress and piece.text]
        assert answered == sorted(answered)
        assert answered[-1] <= 3

    def test_nothing_is_told_unasked(self, quick_llamacpp: LlamaCpp) -> None:
        pieces = quick_llamacpp.complete("one two", sampling=Sampling(max_tokens=3))

        assert not [piece for piece in pieces if piece.progress]

    def test_the_cache_may_be_left_alone(self, quick_llamacpp: LlamaCpp) -> None:
        def cached(**extras: bool) -> int:
            asked = Sampling(max_tokens=1, extras=extras or None)
            *_, last = quick_llamacpp.complete("five six seven eight", sampling=asked)
            assert last.usage
            return last.usage.cached_tokens

        cached()
        assert cached() > 0
        assert cached(cache_prompt=False) == 0

    def test_likelihoods_after_the_sampling_are_of_what_could_be_drawn(
        self, quick_llamacpp: LlamaCpp
    ) -> None:
        asked = Sampling(
            max_tokens=1, temperature=1.0, top_k=2, logprobs=5, extras={"post_sampling_probs": True}
        )
        (first, *_) = [
            one for piece in quick_llamacpp.complete("one two", sampling=asked) for one in piece.logprobs
        ]

        assert len(first.others) == 2
        assert sum(math.exp(one.logprob) for one in first.others) == pytest.approx(1.0, abs=1e-3)

    def test_its_own_counters(self, quick_llamacpp: LlamaCpp) -> None:
        before = quick_llamacpp.counters()["n_decode_total"]
        list(quick_llamacpp.complete("one two", sampling=Sampling(max_tokens=3)))

        assert quick_llamacpp.counters()["n_decode_total"] >= before + 3
