"""Servers: addresses, refusals, and what each kind of server is sent and answers.

The shapes are those of the servers' own protocol definitions, which `server_kinds` names.
"""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import films
import pytest
from PIL import Image

from qwen_cli.endpoints import base_url
from qwen_cli.engines import load
from qwen_cli.engines.core import content as parts
from qwen_cli.engines.core.base import Sampling
from qwen_cli.engines.parsing.openai import BUDGET_MESSAGE
from qwen_cli.engines.remote.engine import Remote
from qwen_cli.engines.remote.retries import Retries
from qwen_cli.errors import ContextFull, EndpointError, EngineError, UsageError
from qwen_cli.media import images, video
from qwen_cli.media.inputs import Film, Picture
from qwen_cli.tasks.vision import prepare
from tests.engines.conftest import Served

HELLO = [{"role": "user", "content": "hello"}]
KINDS = ["vllm", "sglang", "tensorrt_llm", "qwen", "library", "openai"]


class StubServer:
    """Answers as told and keeps what it was asked."""

    def __init__(self) -> None:
        self.cards: list[dict[str, Any]] = []
        self.deltas: list[dict[str, Any]] = [{"content": "Hi"}]
        self.answers: dict[str, tuple[int, dict[str, Any]]] = {}
        self.page: tuple[str, bytes] | None = None  # sent whatever is got
        self.finish = "stop"
        self.info: dict[str, dict[str, Any]] = {}  # what is got from routes of its own
        self.first: list[tuple[int, dict[str, Any], dict[str, str]]] = []  # answered before the others
        self.headers: list[Any] = []
        self.rendered: Callable[[dict[str, Any]], str | None] | None = None  # by llama.cpp's /apply-template
        self.requests: list[tuple[str, dict[str, Any]]] = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None: ...

            def do_GET(self) -> None:
                found = self.path == "/v1/models"
                if stub.page:
                    self.write(200, *stub.page)
                elif self.path in stub.info:
                    self.reply(200, stub.info[self.path])
                else:
                    self.reply(200 if found else 404, {"object": "list", "data": stub.cards} if found else {})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                stub.requests.append((self.path, body))
                stub.headers.append(self.headers)
                if self.path in stub.info:
                    self.reply(200, stub.info[self.path])
                elif self.path == "/apply-template" and stub.rendered:
                    prompt = stub.rendered(body.get("chat_template_kwargs", {}))
                    self.reply(200 if prompt else 500, {"prompt": prompt} if prompt else {"error": {}})
                elif stub.first:
                    status, answer, headers = stub.first.pop(0)
                    if status:
                        self.reply(status, answer, headers)
                    else:
                        self.close_connection = True
                elif self.path in stub.answers:
                    self.reply(*stub.answers[self.path])
                else:
                    self.stream(body)

            def reply(
                self, status: int, body: dict[str, Any], headers: Mapping[str, str] = MappingProxyType({})
            ) -> None:
                self.write(status, "application/json", json.dumps(body).encode(), headers)

            def write(
                self, status: int, kind: str, data: bytes, headers: Mapping[str, str] = MappingProxyType({})
            ) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def stream(self, body: dict[str, Any]) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()
                base = {"id": "x", "created": 1, "model": "m", "object": "chat.completion.chunk"}
                parts = [*stub.deltas, {}]
                if "prompt" in body:
                    choices = [{"index": 0, "text": part.get("content", "")} for part in parts]
                else:
                    choices = [{"index": 0, "delta": part} for part in parts]
                choices[-1]["finish_reason"] = stub.finish
                usage = {
                    "prompt_tokens": 20,
                    "completion_tokens": 7,
                    "total_tokens": 27,
                    "prompt_tokens_details": {"cached_tokens": 16},
                }
                chunks = [{**base, "choices": [choice]} for choice in choices]
                for chunk in [*chunks, {**base, "choices": [], "usage": usage}]:
                    self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
                self.wfile.write(b"data: [DONE]\n\n")

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def serve(self, kind: str, model: str = "Qwen/Qwen3-8B", **card: Any) -> None:
        self.cards = [{"id": model, "object": "model", "created": 1, "owned_by": kind, **card}]

    @property
    def sent(self) -> dict[str, Any]:
        """The body of the last request."""
        return self.requests[-1][1]


@pytest.fixture
def stub() -> Iterator[StubServer]:
    server = StubServer()
    yield server
    server.server.shutdown()
    server.server.server_close()


class TestAddresses:
    @pytest.mark.parametrize(
        ("given", "used"),
        [
            ("http://localhost:8000", "http://localhost:8000/v1"),
            ("http://localhost:8000/", "http://localhost:8000/v1"),
            ("http://localhost:8000/v1/", "http://localhost:8000/v1"),
            ("localhost:8000", "http://localhost:8000/v1"),
            ("10.0.0.5:30000/v1", "http://10.0.0.5:30000/v1"),
            ("https://host/compatible-mode/v1", "https://host/compatible-mode/v1"),
            ("https://host/v1/chat/completions", "https://host/v1"),
            (" http://[::1]:8080 ", "http://[::1]:8080/v1"),
        ],
    )
    def test_forms(self, given: str, used: str) -> None:
        assert base_url(given) == used

    @pytest.mark.parametrize("given", ["", "ftp://host", "http://", "http://host:99999", "two words"])
    def test_what_is_no_address(self, given: str) -> None:
        with pytest.raises(UsageError, match="address of a server"):
            base_url(given)

    @pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/chat/completions"])
    def test_a_real_server_answers_at_each(self, served: Served, path: str) -> None:
        with Remote(served.url + path, api_key=served.key) as engine:
            assert engine.model == served.model
            assert engine.count_tokens("hello") == 1


class TestRefusals:
    def test_nobody_listens(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(EndpointError, match=url) as fault:
            Remote(url)
        assert fault.value.hint

    @pytest.mark.parametrize("key", [None, "wrong"])
    def test_wrong_key(self, served: Served, key: str | None) -> None:
        with pytest.raises(EndpointError, match="refuses the API key"), Remote(served.url, api_key=key) as e:
            list(e.chat(HELLO))

    @pytest.mark.parametrize(
        "page",
        [("text/html", b"<html>hi</html>"), ("application/json", b"<html>"), ("application/json", b"[1]")],
    )
    def test_what_is_no_such_server(self, stub: StubServer, page: tuple[str, bytes]) -> None:
        stub.page = page
        with pytest.raises(EndpointError) as fault:
            Remote(stub.url, model="m")
        assert fault.value.hint == "check `endpoint`"

    def test_unknown_model(self, served: Served) -> None:
        with pytest.raises(EndpointError, match="does not serve 'gpt-9'") as fault:
            Remote(served.url, api_key=served.key, model="gpt-9")
        assert served.model in str(fault.value.hint)

    def test_no_model_at_all(self, stub: StubServer) -> None:
        with pytest.raises(EndpointError, match="serves no model"):
            Remote(stub.url)

    def test_not_such_a_server(self, stub: StubServer) -> None:
        with pytest.raises(EndpointError, match="lists no models"):
            Remote(stub.url + "/somewhere/else")

    @pytest.mark.parametrize(
        "message",
        [
            # vLLM, older and newer; SGLang.
            "This model's maximum context length is 4096 tokens. However, you requested 5030 tokens (5020 in"
            " the messages, 10 in the completion). Please reduce the length of the messages or completion.",
            "You passed 5030 input tokens and requested 1 output tokens. However, the model's context length"
            " is only 4096 tokens",
            "The input (5030 tokens) is longer than the model's context length (4096 tokens).",
        ],
    )
    def test_a_prompt_that_does_not_fit(self, stub: StubServer, message: str) -> None:
        stub.serve("vllm")
        stub.answers["/v1/chat/completions"] = (400, {"error": {"message": message, "code": 400}})

        with pytest.raises(ContextFull) as fault:
            list(Remote(stub.url).chat(HELLO))
        assert (fault.value.needed, fault.value.limit) == (5030, 4096)

    def test_a_failing_server_is_asked_once(self, stub: StubServer) -> None:
        """A prompt may be expensive: what did not work is not silently computed again."""
        stub.serve("vllm")
        stub.answers["/v1/chat/completions"] = (500, {"error": {"message": "CUDA out of memory"}})

        with pytest.raises(EndpointError, match="500: CUDA out of memory"):
            list(Remote(stub.url).chat(HELLO))
        assert len(stub.requests) == 1

    @pytest.mark.parametrize(
        "delta",
        [
            {"content": 5},
            {"content": ["Hi"]},
            {"reasoning_content": {"a": 1}},
            {"tool_calls": [5]},
            {"tool_calls": {"a": 1}},
            {"tool_calls": [{"index": 0, "function": "f"}]},
        ],
        ids=str,
    )
    def test_an_answer_of_another_form_is_no_fault_of_ours(
        self, stub: StubServer, delta: dict[str, Any]
    ) -> None:
        stub.serve("vllm")
        stub.deltas = [delta]

        with pytest.raises(EndpointError, match="answers in another form than OpenAI's"):
            list(Remote(stub.url).chat(HELLO))

    @pytest.mark.parametrize(
        "card", [{"meta": "big"}, {"root": {"a": 1}}, {"max_model_len": "long"}], ids=str
    )
    def test_an_odd_entry_in_the_list_of_models(self, stub: StubServer, card: dict[str, Any]) -> None:
        stub.serve("vllm", **card)
        try:
            assert Remote(stub.url).model
        except EndpointError as fault:
            assert "another form" in str(fault)

    @pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip", "deflate", "br"])
    def test_an_encoded_answer_is_refused_unread(
        self, stub: StubServer, monkeypatch: pytest.MonkeyPatch, encoding: str
    ) -> None:
        stub.serve("vllm")
        engine = Remote(stub.url)
        stub.first = [(200, {}, {"Content-Encoding": encoding})] * 2

        with pytest.raises(EndpointError, match=r"answers encoded .*, unasked"):
            list(engine.chat(HELLO))
        assert stub.headers[-1]["Accept-Encoding"] == "identity"
        assert len(stub.requests) == 1

    def test_a_broken_off_answer_is_not_taken_for_whole(self, stub: StubServer) -> None:
        stub.serve("vllm")
        stub.finish = None  # type: ignore[assignment]

        with pytest.raises(EndpointError, match="closed the connection before the answer was complete"):
            list(Remote(stub.url).chat(HELLO))


QUICK = Retries(times=3, first=0.01, most=0.02, longest=0.5)


def fault(message: str, status: int = 400) -> tuple[int, dict[str, Any], dict[str, str]]:
    return status, {"error": {"message": message, "type": "invalid_request_error"}}, {}


class TestAskingAgain:
    @pytest.mark.parametrize("status", [0, 408, 409, 429, 502, 503, 504])
    def test_what_was_not_answered_is_asked_again_and_that_is_told(
        self, stub: StubServer, status: int
    ) -> None:
        """0 is a connection that the server closes."""
        stub.serve("vllm")
        said: list[str] = []
        engine = Remote(stub.url, notice=said.append, retries=QUICK)
        stub.first = [(status, {}, {})] * 2
        assert "".join(piece.text for piece in engine.chat(HELLO)) == "Hi"
        assert len(stub.requests) == 3
        assert ["retrying in" in line for line in said] == [True, True]
        assert said[1].endswith("(2 of 3)")

    @pytest.mark.parametrize("status", [400, 404, 413, 500])
    def test_what_would_fail_again_is_not(self, stub: StubServer, status: int) -> None:
        stub.serve("vllm")
        stub.first = [fault("no", status)]
        with pytest.raises(EndpointError):
            list(Remote(stub.url, retries=QUICK).chat(HELLO))
        assert len(stub.requests) == 1

    def test_it_is_given_up(self, stub: StubServer) -> None:
        stub.serve("vllm")
        stub.first = [fault("busy", 503)] * 9
        with pytest.raises(EndpointError, match="503: busy"):
            list(Remote(stub.url, retries=QUICK).chat(HELLO))
        assert len(stub.requests) == 4

    def test_an_answer_that_has_begun_is_not_asked_for_again(self, stub: StubServer) -> None:
        stub.serve("vllm")
        stub.finish = None  # type: ignore[assignment]
        with pytest.raises(EndpointError, match="closed the connection before the answer was complete"):
            list(Remote(stub.url, retries=QUICK).chat(HELLO))
        assert len(stub.requests) == 1

    def test_silence_is_not_asked_again(self) -> None:
        """What is silent may be computing."""
        with socket.socket() as deaf:
            deaf.bind(("127.0.0.1", 0))
            deaf.listen()
            with pytest.raises(EndpointError, match="timed out"):
                Remote(f"http://127.0.0.1:{deaf.getsockname()[1]}", patience=0.2, retries=QUICK)

    def test_the_server_says_when(self, stub: StubServer) -> None:
        stub.serve("vllm")
        said: list[str] = []
        engine = Remote(stub.url, notice=said.append, retries=QUICK)
        stub.first = [(429, {}, {"Retry-After": "0.3"})]
        started = time.perf_counter()
        list(engine.chat(HELLO))
        assert time.perf_counter() - started >= 0.3
        assert "answers 429; retrying in 0.3 s" in said[0]
        stub.first = [(503, {}, {"Retry-After": "3600"})]
        with pytest.raises(EndpointError, match="503"):  # an hour is not waited for
            list(engine.chat(HELLO))

    def test_a_date_is_understood(self) -> None:
        import email.utils

        import openai

        from qwen_cli.engines.remote.errors import transport_errors
        from qwen_cli.engines.remote.retries import _retry_after

        module = __import__(transport_errors()[-1].__module__.partition(".")[0])
        when = email.utils.formatdate(time.time() + 30, usegmt=True)
        response = module.Response(
            503, headers={"Retry-After": when}, request=module.Request("POST", "http://a")
        )
        wished = _retry_after(openai.APIStatusError("no", response=response, body=None))
        assert wished
        assert 25 < wished <= 30


class TestRefusedFields:
    @pytest.mark.parametrize(
        "message",
        [
            # TensorRT-LLM, SGLang and others behind pydantic; gateways.
            "[{'type': 'extra_forbidden', 'loc': ('body', 'top_k'), 'msg': 'Extra inputs'}]",
            "top_k is not supported by this model",
            "Unrecognized request argument supplied: top_k",
        ],
    )
    def test_a_field_that_can_be_spared_is_left_out_once_for_all(
        self, stub: StubServer, message: str
    ) -> None:
        stub.serve("vllm")
        said: list[str] = []
        engine = Remote(stub.url, notice=said.append)
        stub.first = [fault(message)]
        for _ in range(2):
            list(engine.chat(HELLO, sampling=Sampling(top_k=5, top_p=0.5)))
        assert ["top_k" in body for _, body in stub.requests] == [True, False, False]
        assert stub.sent["top_p"] == 0.5
        assert said == [f"{stub.url}/v1 takes no top_k: draws without it"]

    def test_a_wrong_value_is_the_servers_to_say(self, stub: StubServer) -> None:
        stub.serve("vllm")
        stub.first = [fault("top_k must be -1 (disable), or at least 1, got -3.")]
        with pytest.raises(EndpointError, match="top_k must be"):
            list(Remote(stub.url).chat(HELLO, sampling=Sampling(top_k=5)))
        assert len(stub.requests) == 1

    def test_a_thinking_budget_is_not_dropped(self, stub: StubServer) -> None:
        stub.serve("vllm")
        stub.first = [fault("thinking_token_budget is not supported")]
        with pytest.raises(EndpointError, match="thinking_token_budget"):
            list(Remote(stub.url).chat(HELLO, thinking=100))

    def test_a_schema_goes_where_the_server_has_it(self, stub: StubServer) -> None:
        stub.serve("vllm")
        schema = {"type": "object"}
        said: list[str] = []
        engine = Remote(stub.url, notice=said.append)
        stub.first = [
            fault("response_format of type json_schema is not supported"),
            fault("structured_outputs: Extra inputs are not permitted"),
        ]
        list(engine.chat(HELLO, schema=schema))
        assert stub.requests[0][1]["response_format"]["json_schema"]["schema"] == schema
        assert stub.requests[1][1]["structured_outputs"] == {"json": schema}
        assert (stub.sent["guided_json"], "response_format" in stub.sent) == (schema, False)
        assert len(said) == 2

    def test_tools_that_the_server_was_not_started_for(self, stub: StubServer) -> None:
        stub.serve("vllm")
        message = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
        stub.first = [fault(message)]
        tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
        with pytest.raises(EndpointError, match="tool-call-parser") as told:
            list(Remote(stub.url).chat(HELLO, tools=[tool]))
        assert "`engine=vllm`" in str(told.value.hint)


LM_STUDIO = {"id": "mine", "type": "vlm", "arch": "qwen3_vl"}
SEEING_PROPS = {"modalities": {"vision": True}, "chat_template": ""}


class TestWhatIsAsked:
    """Capabilities that servers tell (their own sources, which `remote_look` names)."""

    @pytest.mark.parametrize("route", ["/model_info", "/get_model_info"])
    @pytest.mark.parametrize("sees", [True, False])
    def test_sglang_tells_whether_it_sees(self, stub: StubServer, route: str, sees: bool) -> None:
        stub.serve("sglang", model="mine")
        stub.info[route] = {"has_image_understanding": sees, "tool_call_parser": None}
        can = Remote(stub.url).capabilities
        assert (can.vision, can.video_files) == (sees, sees)

    @pytest.mark.parametrize(
        ("kind", "fields"),
        [
            ("vllm", {"continue_final_message": True, "add_generation_prompt": False}),
            ("sglang", {"continue_final_message": True}),
            ("llamacpp", {}),
            ("library", {}),
            ("tensorrt_llm", None),
            ("qwen", {}),
            ("nobody", None),
        ],
    )
    def test_servers_that_go_on_with_a_last_turn_are_asked_to(
        self, stub: StubServer, kind: str, fields: dict[str, bool] | None
    ) -> None:
        stub.serve(kind, model="mine")
        engine = Remote(stub.url)
        assert engine.capabilities.prefill is (fields is not None)
        turns = [{"role": "user", "content": "Count."}, {"role": "assistant", "content": "one "}]
        list(engine.chat(turns))
        names = ("continue_final_message", "add_generation_prompt")
        assert {name: stub.sent[name] for name in names if name in stub.sent} == (fields or {})
        list(engine.chat(turns[:1]))
        assert not any(name in stub.sent for name in names)

    def test_ollama_tells_what_the_model_can(self, stub: StubServer) -> None:
        stub.serve("library", model="mine:8b")
        stub.info["/api/show"] = {"capabilities": ["completion", "thinking"]}
        can = Remote(stub.url).capabilities
        assert (can.vision, can.tools, can.thinking) == (False, False, "switch")
        stub.info["/api/show"] = {"capabilities": ["completion", "vision", "tools"]}
        can = Remote(stub.url).capabilities
        assert (can.vision, can.tools, can.thinking) == (True, True, None)

    @pytest.mark.parametrize(
        ("card", "sees"),
        [
            ({"architecture": {"input_modalities": ["text", "image"]}}, True),  # OpenRouter
            ({"architecture": {"input_modalities": ["text"]}}, False),
            ({"capabilities": {"vision": True}}, True),  # Mistral, `qwen serve`
            ({"capabilities": {"vision": False}}, False),
            ({"capabilities": ["completion", "multimodal"]}, True),  # llama.cpp, Ollama
            ({"supports_image_input": False}, False),  # Fireworks
            ({"model_info": {"supports_vision": True}}, True),  # LiteLLM
            ({"root": "Qwen/Qwen3.5-9B"}, True),  # vLLM
            ({"root": "/data/Qwen3-VL-8B-Instruct/"}, True),
            ({"root": "Qwen/Qwen3-8B"}, False),
            ({}, True),  # only the server can say that it does not
        ],
    )
    @pytest.mark.parametrize("model", ["my-assistant", "blue-whale-vl"])
    def test_whether_it_sees_is_not_in_the_served_name(
        self, stub: StubServer, card: dict[str, Any], sees: bool, model: str
    ) -> None:
        stub.serve("somebody", model, **card)
        assert Remote(stub.url).capabilities.vision is sees

    def test_the_weights_say_more_than_the_name_they_are_served_by(self, stub: StubServer) -> None:
        stub.serve("vllm", "qwen3:8b", root="Qwen/Qwen3.5-9B")
        can = Remote(stub.url).capabilities
        assert (can.vision, can.seeing.boxes, can.seeing.unit) == (True, "thousand", 32)

    @pytest.mark.parametrize(
        ("kind", "route", "told"),
        [
            ("organization_owner", "/api/v0/models", {"data": [LM_STUDIO]}),
            ("sglang", "/model_info", {"has_image_understanding": True, "model_path": "Qwen/Qwen3.6-27B"}),
            ("library", "/api/show", {"capabilities": ["vision"], "details": {"family": "qwen3vl"}}),
            ("llamacpp", "/props", {**SEEING_PROPS, "model_path": "/m/Qwen3.5-9B-UD-Q4_K_XL.gguf"}),
        ],
    )
    def test_how_it_sees_is_told_by_what_it_serves(
        self, stub: StubServer, kind: str, route: str, told: dict[str, Any]
    ) -> None:
        stub.serve(kind, "mine")
        stub.info[route] = told
        can = Remote(stub.url).capabilities
        assert (can.vision, can.seeing.boxes, can.seeing.unit) == (True, "thousand", 32)

    def test_a_text_model_by_name_that_has_eyes(self, stub: StubServer) -> None:
        stub.serve("llamacpp", "Qwen3-8B.gguf")
        stub.info["/props"] = {"modalities": {"vision": True}, "chat_template": ""}
        assert Remote(stub.url).capabilities.vision
        stub.info["/props"] = {"modalities": {"vision": False}, "chat_template": ""}
        assert not Remote(stub.url).capabilities.vision

    @pytest.mark.parametrize("vision", [True, False])
    def test_a_person_knows_better(self, stub: StubServer, vision: bool) -> None:
        stub.serve("somebody", "mine", capabilities={"vision": not vision})
        can = Remote(stub.url, vision=vision).capabilities
        assert (can.vision, bool(can.pictures)) == (vision, vision)

    def test_weights_that_are_here_need_no_word(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(load, "find", lambda *_: (None, SimpleNamespace(files=())))
        with pytest.raises(UsageError, match="`vision` is for a server"):
            load.load("mine", vision=True)

    def test_pictures_that_a_server_drops_are_told(self, stub: StubServer) -> None:
        stub.serve("somebody", "mine")
        said: list[str] = []
        written = BytesIO()
        Image.effect_noise((640, 480), 60).save(written, "JPEG")
        server = Remote(stub.url, notice=said.append)

        def ask(image: Image.Image, encoded: images.Encoded | None = None) -> str:
            looks = prepare.prepare_all([Picture("photo", image, encoded=encoded)], server)
            assert "".join(p.text for p in server.chat([prepare.message(looks, "What?")]))
            return str(stub.sent["messages"][0]["content"][0]["image_url"]["url"])

        (still,) = images.stills(written.getvalue(), "photo")
        sent = ask(still.image, still.encoded)
        assert sent == f"data:image/jpeg;base64,{base64.b64encode(written.getvalue()).decode()}"
        assert said == [
            f"{stub.url}/v1 counted 20 tokens for the question and its pictures: it has hardly shown them to"
            " the model"
        ]
        ask(Image.new("RGB", (64, 64)))  # 4 or 5 tokens: nobody can tell
        assert len(said) == 1

    def test_headers_and_key_go_with_every_request(self, stub: StubServer) -> None:
        stub.serve("vllm")
        list(Remote(stub.url, api_key="sesame", headers={"X-Team": "nlp"}).chat(HELLO))
        assert stub.headers[-1]["X-Team"] == "nlp"
        assert stub.headers[-1]["Authorization"] == "Bearer sesame"


class TestWhatIsSent:
    SAMPLING = Sampling(temperature=0.6, top_p=0.9, top_k=20, min_p=0.1, repetition_penalty=1.1, seed=3)

    @pytest.mark.parametrize("kind", KINDS)
    def test_standard_fields_go_to_all_and_others_where_they_are_known(
        self, stub: StubServer, kind: str
    ) -> None:
        stub.serve(kind)
        list(Remote(stub.url).chat(HELLO, sampling=self.SAMPLING, thinking=False))

        sent = stub.sent
        assert (sent["temperature"], sent["top_p"], sent["seed"]) == (0.6, 0.9, 3)
        extras = {
            "top_k": 20,
            "min_p": 0.1,
            "repetition_penalty": 1.1,
            "chat_template_kwargs": {"enable_thinking": False},
        }
        knows = kind in ("vllm", "sglang", "tensorrt_llm", "qwen")
        assert {name: sent[name] for name in extras if name in sent} == (extras if knows else {})

    def test_llama_server_is_asked_how_the_template_thinks(self, stub: StubServer) -> None:
        """It renders for us: the template of a server is no program to run here."""
        stub.info["/props"] = {"chat_template": "think {{ reasoning_effort }}"}
        stub.rendered = lambda variables: (
            f"{variables.get('reasoning_effort', 'xhigh')}<|im_start|>assistant\n<think>\n"
            if variables.get("reasoning_effort", "xhigh") in ("xhigh", "low")
            and variables.get("enable_thinking") is not False
            else None
        )
        stub.serve("llamacpp", "anything")
        can = Remote(stub.url).capabilities
        assert (can.thinking, can.efforts) == ("always", ("xhigh", "low"))

    @pytest.mark.parametrize("kind", [*KINDS, "llamacpp"])
    def test_without_thinking_it_is_the_cards_settings_for_that(self, stub: StubServer, kind: str) -> None:
        """A server's own are those of a file that has one set, for thinking."""
        stub.info["/props"] = {"chat_template": "none that thinks"}
        stub.serve(kind, "Qwen/Qwen3-8B")
        server = Remote(stub.url)
        list(server.chat(HELLO, thinking=False))
        knows_itself = kind == "qwen"
        assert (stub.sent.get("temperature"), stub.sent.get("top_p")) == (
            (None, None) if knows_itself else (0.7, 0.8)
        )
        for thinking in (None, True):
            list(server.chat(HELLO, thinking=thinking))
            assert not {"temperature", "top_p", "top_k"} & stub.sent.keys()
        list(server.chat(HELLO, thinking=False, sampling=Sampling(temperature=0.0)))
        assert stub.sent["temperature"] == 0 and "top_p" not in stub.sent
        prompt = "<|im_start|>assistant\n<think>\n\n</think>\n\n"
        list(server.complete(prompt, sampling=Sampling(max_tokens=1)))
        assert stub.sent.get("temperature") == (None if knows_itself else 0.7)

    @pytest.mark.parametrize("kind", ["vllm", "sglang", "library", "openai", "qwen"])
    def test_a_presence_penalty_of_the_card_is_in_no_servers_files(self, stub: StubServer, kind: str) -> None:
        stub.serve(kind, "Qwen/Qwen3-VL-8B-Instruct")
        list(Remote(stub.url).chat(HELLO))
        assert stub.sent.get("presence_penalty") == (None if kind == "qwen" else 1.5)
        list(Remote(stub.url).chat(HELLO, sampling=Sampling(presence_penalty=0.25)))
        assert stub.sent["presence_penalty"] == 0.25
        stub.serve(kind, "Qwen/Qwen3-VL-8B-Thinking")
        list(Remote(stub.url).chat(HELLO))
        assert "presence_penalty" not in stub.sent

    @pytest.mark.parametrize(
        ("kind", "fields"),
        [
            ("vllm", {"thinking_token_budget": 512}),
            ("tensorrt_llm", {"thinking_token_budget": 512}),
            ("sglang", {"custom_params": {"thinking_budget": 512}}),
            (
                "llamacpp",
                {"thinking_budget_tokens": 512, "reasoning_budget_message": BUDGET_MESSAGE},
            ),
        ],
    )
    def test_a_thinking_budget(self, stub: StubServer, kind: str, fields: dict[str, Any]) -> None:
        stub.serve("vllm")
        engine = Remote(stub.url)
        from qwen_cli.engines.remote.servers import KINDS as known

        engine._kind = known[kind]
        list(engine.chat(HELLO, thinking=512))

        assert {name: stub.sent.get(name) for name in fields} == fields
        assert stub.sent["chat_template_kwargs"] == {"enable_thinking": True}

    @pytest.mark.parametrize("kind", ["vllm", "sglang", "tensorrt_llm", "qwen", "llamacpp"])
    def test_variables_of_the_template(self, stub: StubServer, kind: str) -> None:
        stub.serve(kind, "Qwen/Qwen3.8-27B")
        server = Remote(stub.url)
        wanted = {"reasoning_effort": "low", "preserve_thinking": True}
        list(server.chat(HELLO, template_kwargs=wanted))
        assert stub.sent["chat_template_kwargs"] == wanted
        list(server.chat(HELLO, thinking=True, template_kwargs=wanted))
        assert stub.sent["chat_template_kwargs"] == {**wanted, "enable_thinking": True}
        assert "reasoning_effort" not in stub.sent
        with pytest.raises(UsageError, match="no variable"):
            list(server.chat(HELLO, template_kwargs={"chat_template": "x"}))

    @pytest.mark.parametrize("kind", ["library", "openai"])
    def test_others_take_openais_effort_and_no_variables(self, stub: StubServer, kind: str) -> None:
        stub.serve(kind, "qwen3.8:27b")
        server = Remote(stub.url)
        assert server.capabilities.preserve_thinking is None
        list(server.chat(HELLO, template_kwargs={"reasoning_effort": "low"}))
        assert stub.sent["reasoning_effort"] == "low" and "chat_template_kwargs" not in stub.sent
        list(server.chat(HELLO, thinking=False))
        assert stub.sent.get("reasoning_effort") == ("none" if kind == "library" else None)
        with pytest.raises(EndpointError, match="takes no template variables, got add_vision_id"):
            list(server.chat(HELLO, template_kwargs={"add_vision_id": True}))

    def test_a_model_that_cannot_stop_thinking_is_not_told_to(self, stub: StubServer) -> None:
        stub.serve("vllm", "Qwen/Qwen3-4B-Thinking-2507")
        list(Remote(stub.url).chat(HELLO, thinking=False))
        assert "chat_template_kwargs" not in stub.sent

    @pytest.mark.parametrize(
        ("kind", "name"),
        [
            ("vllm", "reasoning"),
            ("sglang", "reasoning_content"),
            ("llamacpp", "reasoning_content"),
            ("qwen", "reasoning_content"),
            ("library", "reasoning"),
            ("tensorrt_llm", None),
            ("openai", None),
        ],
    )
    def test_past_thinking_under_the_servers_own_name(
        self, stub: StubServer, kind: str, name: str | None
    ) -> None:
        stub.serve(kind)
        past = {"role": "assistant", "content": "Hi", "reasoning_content": "Hm."}
        list(Remote(stub.url).chat([*HELLO, past, *HELLO]))
        own = {name: "Hm."} if name else {}
        assert stub.sent["messages"][1] == {"role": "assistant", "content": "Hi", **own}

    @pytest.mark.parametrize("status", [400, 500])
    def test_turns_that_the_template_refuses_are_put_as_it_takes_them(
        self, stub: StubServer, status: int
    ) -> None:
        stub.serve("vllm")
        why = "While executing CallExpression: Jinja Exception: No user query found in messages."
        stub.first = [(status, {"error": {"message": why}}, {})]
        system = {"role": "system", "content": "Say hi."}
        first, *_ = Remote(stub.url).chat([system])
        assert first.text == "Hi"
        assert stub.sent["messages"] == [system, {"role": "user", "content": ""}]

    def test_arguments_of_calls_are_json_of_an_object(self, stub: StubServer) -> None:
        stub.serve("vllm")
        given: list[Any] = ['{"a": 1}', {"a": "ü"}, '{"a": ', "", "[1]"]
        calls = [
            {"id": "x", "type": "function", "function": {"name": "f", "arguments": one}} for one in given
        ]
        list(Remote(stub.url).chat([*HELLO, {"role": "assistant", "content": "", "tool_calls": calls}]))
        sent = [call["function"]["arguments"] for call in stub.sent["messages"][1]["tool_calls"]]
        assert sent[:2] == ['{"a": 1}', '{"a": "ü"}']
        assert [json.loads(one) for one in sent[2:]] == [
            {"invalid_json": '{"a": '},
            {},
            {"invalid_json": "[1]"},
        ]

    def test_a_budget_that_the_server_cannot_keep_is_refused(self, stub: StubServer) -> None:
        stub.serve("openai")
        with pytest.raises(EndpointError, match="no thinking budget"):
            list(Remote(stub.url).chat(HELLO, thinking=512))

    def test_remarks_of_the_conversation_stay_here(self, stub: StubServer) -> None:
        stub.serve("vllm")
        list(Remote(stub.url).chat([{**HELLO[0], "cut": True}]))

        assert stub.sent["messages"] == HELLO

    def test_a_completion_has_no_silent_limit(self, stub: StubServer) -> None:
        stub.serve("vllm", max_model_len=1000)
        stub.answers["/tokenize"] = (200, {"count": 10, "max_model_len": 1000, "tokens": [1] * 10})
        pieces = list(Remote(stub.url).complete("once"))
        assert [piece.text for piece in pieces] == ["Hi", ""]
        assert stub.requests[0] == ("/tokenize", {"model": "Qwen/Qwen3-8B", "prompt": "once"})
        assert stub.sent["max_tokens"] == 990

        stub.serve("openai")
        list(Remote(stub.url).complete("once"))
        assert stub.sent["max_tokens"] is None


class TestWhatIsRead:
    @pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
    def test_thinking_has_two_names(self, stub: StubServer, field: str) -> None:
        stub.serve("vllm")
        stub.deltas = [{"role": "assistant", "content": ""}, {field: "Hm"}, {field: "m."}, {"content": "Hi"}]

        pieces = list(Remote(stub.url).chat(HELLO))

        assert [(p.kind, p.text) for p in pieces[:-1]] == [
            ("thinking", "Hm"),
            ("thinking", "m."),
            ("answer", "Hi"),
        ]

    def test_thinking_of_a_server_without_a_parser(self, stub: StubServer) -> None:
        stub.serve("openai")
        stub.deltas = [{"content": part} for part in ("<th", "ink>\nHm", " <b> </thi", "nk>\n\nHi", " there")]

        pieces = list(Remote(stub.url).chat(HELLO))

        assert "".join(p.text for p in pieces if p.kind == "thinking") == "Hm <b> "
        assert "".join(p.text for p in pieces if p.kind == "answer") == "Hi there"

    @pytest.mark.parametrize("model", ["Qwen/Qwen3-4B-Thinking-2507", "Qwen/QwQ-32B", "Qwen/Qwen3.8-27B"])
    def test_a_lone_end_of_thinking(self, stub: StubServer, model: str) -> None:
        """Their templates open it in the prompt, and the server was started without a parser."""
        stub.serve("vllm", model)
        stub.deltas = [{"content": part} for part in ("stop, ", "hm\n</think>", "\n\nHi", " stop there")]
        engine = Remote(stub.url)
        for thinking in (None, True):
            *pieces, last = engine.chat(HELLO, thinking=thinking, sampling=Sampling(stop=("stop",)))
            assert "stop" not in stub.sent
            assert [(p.kind, p.text) for p in pieces] == [
                ("thinking", "stop, "),
                ("thinking", "hm\n"),
                ("answer", "Hi"),
                ("answer", " "),
            ]
            assert last.usage and last.usage.stop_reason == last.usage.stop_string == "stop"

    def test_where_it_does_not_think_nothing_is_thinking(self, stub: StubServer) -> None:
        for model, thinking in (
            ("Qwen/Qwen3.5-2B", None),
            ("Qwen/Qwen3.8-27B", False),
            ("Qwen/Qwen3-8B", None),
        ):
            stub.serve("vllm", model)
            pieces = list(Remote(stub.url).chat(HELLO, thinking=thinking))
            assert [(p.kind, p.text) for p in pieces[:-1]] == [("answer", "Hi")]

    def test_a_server_that_was_started_without_thinking_is_found_out(self, stub: StubServer) -> None:
        stub.serve("vllm", "Qwen/Qwen3.8-27B")
        engine = Remote(stub.url)
        first, second = ([(p.kind, p.text) for p in engine.chat(HELLO)][:-1] for _ in range(2))
        assert first == [("thinking", "Hi"), ("answer", "Hi")]
        assert second == [("answer", "Hi")]

    def test_a_model_of_an_unknown_name_is_found_out(self, stub: StubServer) -> None:
        stub.serve("vllm", "mine")
        stub.deltas = [{"content": "hm\n</think>\n\nHi"}]
        engine = Remote(stub.url)
        assert len(list(engine.chat(HELLO))) == 2
        again = [(p.kind, p.text) for p in engine.chat(HELLO)][:-1]
        assert again == [("thinking", "hm\n"), ("answer", "Hi")]

    def test_a_model_without_thinking_by_default_has_the_settings_for_that(self, stub: StubServer) -> None:
        stub.serve("vllm", "Qwen/Qwen3.5-2B")
        engine = Remote(stub.url)
        list(engine.chat(HELLO))
        assert stub.sent["temperature"] == 0.7
        list(engine.chat(HELLO, thinking=True))
        assert "temperature" not in stub.sent

    def test_usage(self, stub: StubServer) -> None:
        stub.serve("vllm")
        *_, last = Remote(stub.url).chat(HELLO)

        assert last.usage
        assert (last.usage.prompt_tokens, last.usage.cached_tokens, last.usage.generated_tokens) == (
            20,
            16,
            7,
        )

    @pytest.mark.parametrize(("limit", "reason"), [(7, "length"), (None, "context")])
    def test_which_limit_was_reached(self, stub: StubServer, limit: int | None, reason: str) -> None:
        stub.serve("vllm")
        stub.finish = "length"
        *_, last = Remote(stub.url).chat(HELLO, sampling=Sampling(max_tokens=limit))

        assert last.usage
        assert last.usage.stop_reason == reason

    def test_tool_calls_in_fragments(self, stub: StubServer) -> None:
        stub.serve("vllm")
        stub.finish = "tool_calls"
        fragments = [
            {"index": 0, "id": "a", "type": "function", "function": {"name": "weather", "arguments": ""}},
            {"index": 0, "function": {"arguments": '{"city": '}},
            {"index": 0, "function": {"arguments": '"Paris"}'}},
            {"index": 1, "id": "b", "type": "function", "function": {"name": "time", "arguments": "oops"}},
        ]
        stub.deltas = [{"tool_calls": [fragment]} for fragment in fragments]

        *pieces, last = Remote(stub.url).chat(HELLO)

        calls = [p.call for p in pieces if p.call]
        assert [(c.name, c.arguments) for c in calls] == [
            ("weather", {"city": "Paris"}),
            ("time", {"invalid_json": "oops"}),
        ]
        assert len({c.id for c in calls} - {"a", "b"}) == 2  # servers count anew in each answer
        assert last.usage
        assert last.usage.stop_reason == "tool_calls"

    def test_several_samples_in_one_answer(self, stub: StubServer) -> None:
        stub.serve("vllm")
        choices = [
            {
                "index": i,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": f"answer {i}", "reasoning": "hm"},
                "logprobs": {"content": [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -1.5}]},
            }
            for i in (1, 0)
        ]
        usage = {"prompt_tokens": 20, "completion_tokens": 4, "total_tokens": 24}
        stub.answers["/v1/chat/completions"] = (
            200,
            {
                "id": "x",
                "object": "chat.completion",
                "created": 1,
                "model": "m",
                "choices": choices,
                "usage": usage,
            },
        )

        done = Remote(stub.url).sample(HELLO, 2)

        assert [(c.text, c.thinking, c.mean_logprob, c.usage.generated_tokens) for c in done] == [
            ("answer 0", "hm", -1.0, 2),
            ("answer 1", "hm", -1.0, 2),
        ]
        assert stub.sent["n"] == 2

    def test_a_lone_end_of_thinking_in_samples(self, stub: StubServer) -> None:
        stub.serve("vllm", "Qwen/Qwen3-4B-Thinking-2507")
        message = {"role": "assistant", "content": "hm\n</think>\n\n\\boxed{7} stop"}
        body = {"id": "x", "object": "chat.completion", "created": 1, "model": "m"}
        choices = [{"index": 0, "finish_reason": "stop", "message": message}]
        usage = {"prompt_tokens": 20, "completion_tokens": 9, "total_tokens": 29}
        stub.answers["/v1/chat/completions"] = (200, body | {"choices": choices, "usage": usage})

        (done,) = Remote(stub.url).sample(HELLO, 1, sampling=Sampling(stop=("stop", "hm")))

        assert (done.text, done.thinking) == ("\\boxed{7} ", "hm\n")

    def test_the_context_is_what_the_server_lists(self, stub: StubServer) -> None:
        stub.serve("sglang", max_model_len=40960)
        assert Remote(stub.url).capabilities.context == 40960
        stub.serve("openai")
        assert Remote(stub.url).capabilities.context is None

    def test_thinking_is_known_of_catalogued_models(self, stub: StubServer) -> None:
        stub.serve("vllm", model="Qwen/Qwen3-8B")
        assert Remote(stub.url).capabilities.thinking == "switch"

    def test_a_server_that_cannot_count_says_so(self, stub: StubServer) -> None:
        stub.serve("openai")
        with pytest.raises(EngineError, match="does not count"):
            Remote(stub.url).count_tokens("hello")

    def test_our_alias_finds_the_hub_id(self, stub: StubServer) -> None:
        stub.serve("vllm", model="Qwen/Qwen3-8B")
        assert Remote(stub.url, model="qwen3:8b").model == "Qwen/Qwen3-8B"


class TestVideos:
    """`video_url` as vLLM and SGLang document it; pictures with their times for the others."""

    def asked(self, stub: StubServer, kind: str, part: dict[str, Any]) -> list[dict[str, Any]]:
        stub.serve(kind, model="Qwen/Qwen2.5-VL-7B-Instruct")
        content = [part, {"type": "text", "text": "What happens?"}]
        list(Remote(stub.url).chat([{"role": "user", "content": content}]))
        return stub.sent["messages"][0]["content"]

    @pytest.fixture
    def part(self, tmp_path: Path) -> dict[str, Any]:
        """Half a second of video, all of it."""
        path = films.make(tmp_path / "film.mp4", 16)
        return {"type": "video", "video": video.clip(path, factor=28, fps=8), "file": path}

    @pytest.mark.parametrize("kind", ["vllm", "sglang"])
    def test_a_small_file_is_sent_as_it_is(self, stub: StubServer, part: dict[str, Any], kind: str) -> None:
        shown, words = self.asked(stub, kind, part)
        head, _, data = shown["video_url"]["url"].partition(",")
        assert (shown["type"], head, words["type"]) == ("video_url", "data:video/mp4;base64", "text")
        assert base64.b64decode(data) == part["file"].read_bytes()
        frames = {"video": {"num_frames": len(part["video"].indices)}}
        assert stub.sent.get("media_io_kwargs") == (frames if kind == "vllm" else None)

    def test_the_budget_of_a_frame_is_sent(self, stub: StubServer, part: dict[str, Any]) -> None:
        self.asked(stub, "vllm", part | {"pixels": 28 * 28 * 64})
        size = {"shortest_edge": 50_176, "longest_edge": 50_176}
        assert stub.sent["mm_processor_kwargs"] == {"videos_kwargs": {"size": size}}

    def test_a_server_that_trusts_nobody_looks_as_it_does(
        self, stub: StubServer, part: dict[str, Any]
    ) -> None:
        stub.serve("vllm", model="Qwen/Qwen2.5-VL-7B-Instruct")
        said: list[str] = []
        engine = Remote(stub.url, notice=said.append)
        told = "Per-request {} are disabled by default because they can change … resource usage."
        stub.first = [fault(told.format("mm_processor_kwargs")), fault(told.format("media_io_kwargs"))]
        content = [part | {"pixels": 50_176}, {"type": "text", "text": "What happens?"}]
        list(engine.chat([{"role": "user", "content": content}]))
        assert not {"mm_processor_kwargs", "media_io_kwargs"} & set(stub.sent)
        assert [line.partition(": ")[2].split(" by")[0] for line in said] == [
            "it chooses the size of pictures",
            "it chooses the frames of a video",
        ]

    def test_an_address_stays_one(self, stub: StubServer, part: dict[str, Any]) -> None:
        address = "https://example.org/film.mp4"
        shown, _ = self.asked(stub, "vllm", part | {"file": address})
        assert shown == {"type": "video_url", "video_url": {"url": address}}

    def test_a_part_of_a_video_is_its_frames(self, stub: StubServer, part: dict[str, Any]) -> None:
        del part["file"]
        shown = self.asked(stub, "vllm", part)
        assert [one["type"] for one in shown] == ["text", "image_url"] * 4 + ["text"]
        assert shown[0]["text"] == "<0.0 seconds>"
        assert "media_io_kwargs" not in stub.sent

    @pytest.mark.parametrize("kind", ["tensorrt_llm", "library", "openai"])
    def test_other_servers_get_frames(self, stub: StubServer, part: dict[str, Any], kind: str) -> None:
        shown = self.asked(stub, kind, part)
        assert {one["type"] for one in shown} == {"text", "image_url"}

    def test_a_large_file_is_its_frames(
        self, stub: StubServer, part: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(parts, "LARGEST_FILE", 100)
        assert {one["type"] for one in self.asked(stub, "vllm", part)} == {"text", "image_url"}

    def test_frames_that_the_server_reads_are_not_read_here(
        self, stub: StubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(video, "read", lambda *a, **k: pytest.fail("read"))
        stub.serve("vllm", model="Qwen/Qwen2.5-VL-7B-Instruct")
        film = Film("film.mp4", films.make(tmp_path / "film.mp4", 60))
        (look,) = prepare.prepare_all([film], Remote(stub.url))
        assert (look.frames, look.tokens > 0) == (4, True)
