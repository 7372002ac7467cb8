"""What clients expect of a server before any API: methods, compressed bodies, pages of other origins, routes
that are nearly right."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import httpx
import pytest

from qwen_cli.serve.api.auth import Rules
from tests.serve.api.test_auth import ask
from tests.serve.played import Here, Played

BODY = json.dumps({"messages": [{"role": "user", "content": "hi"}]}).encode()
PACKED = gzip.compress(BODY, mtime=0)  # with its time each process would name its tests otherwise


class TestMethods:
    @pytest.mark.parametrize("path", ["/health", "/v1/models", "/metrics"])
    def test_the_head_of_what_can_be_read(self, here: Here, path: str) -> None:
        answer = httpx.head(f"{here.url}{path}")

        assert (answer.status_code, answer.content) == (200, b"")

    @pytest.mark.parametrize(
        ("method", "path", "allowed"),
        [
            ("GET", "/v1/chat/completions", "POST"),
            ("DELETE", "/v1/messages", "POST"),
            ("POST", "/health", "GET, HEAD"),
            ("PUT", "/v1/responses/resp_1", "DELETE, GET, HEAD"),
            ("POST", "/v1/models", "GET, HEAD"),
        ],
    )
    def test_another_is_told_which_are_taken(self, here: Here, method: str, path: str, allowed: str) -> None:
        answer = httpx.request(method, f"{here.url}{path}")

        assert answer.status_code == 405
        assert answer.headers["allow"] == allowed
        assert allowed in answer.json()["error"]["message"]


class TestRoutes:
    @pytest.mark.parametrize(
        ("path", "meant"),
        [
            ("/v1/v1/chat/completions", "/v1/chat/completions"),
            ("/v1/chat/completions/chat/completions", "/v1/chat/completions"),
            ("/v1/chat/completion", "/v1/chat/completions"),
            ("/openai/v1/responses", "/v1/responses"),
            ("/v1/message", "/v1/messages"),
            ("/v1/math/solve", "/v1/math"),
            ("/helth", "/v1/health"),
        ],
    )
    def test_one_that_is_nearly_right(self, here: Here, path: str, meant: str) -> None:
        answer = here.post(path, {})

        assert answer.status_code == 404
        assert answer.json()["error"]["message"].endswith(f": did you mean {meant}?")

    @pytest.mark.parametrize("path", ["/nothing", "/favicon.ico", "/%2e%2e/x"])
    def test_one_that_is_nothing_like_it(self, here: Here, path: str) -> None:
        answer = here.post(path, {})

        assert answer.status_code == 404
        assert "did you mean" not in answer.json()["error"]["message"]


class TestCompressedBodies:
    @pytest.mark.parametrize(
        ("coding", "data"),
        [("gzip", PACKED), ("GZIP", PACKED), ("deflate", zlib.compress(BODY)),
         ("identity", BODY)],
    )  # fmt: skip
    def test_they_are_unpacked(self, here: Here, model: Played, coding: str, data: bytes) -> None:
        answer = httpx.post(
            f"{here.url}/v1/chat/completions", content=data, headers={"Content-Encoding": coding}
        )

        assert answer.status_code == 200, answer.text
        assert model.seen[0].messages == [{"role": "user", "content": "hi"}]

    @pytest.mark.parametrize(
        ("coding", "data", "status"),
        [
            ("br", BODY, 415),
            ("gzip", BODY, 400),
            ("gzip", PACKED[:-9], 400),
            ("gzip", PACKED * 2, 400),
            ("deflate", PACKED, 400),
            ("gzip", gzip.compress(b" " * (33 << 20)), 413),  # 32 kB that unpack to more than a body may have
        ],
    )
    def test_what_cannot_be_is_refused(self, here: Here, coding: str, data: bytes, status: int) -> None:
        answer = httpx.post(
            f"{here.url}/v1/chat/completions", content=data, headers={"Content-Encoding": coding}
        )

        assert answer.status_code == status
        assert answer.json()["error"]["message"]


class TestOrigins:
    PAGE = "https://page.example"
    RULES = Rules(("secret",), origins=(PAGE,))

    def preflight(self, rules: Rules, **headers: str) -> httpx.Response:
        return ask(rules, "OPTIONS", Origin=self.PAGE, Access_Control_Request_Method="POST", **headers)

    def test_an_sdk_may_send_its_own_headers(self) -> None:
        wanted = "authorization,x-stainless-os,anthropic-version"
        answer = self.preflight(self.RULES, Access_Control_Request_Headers=wanted)

        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == self.PAGE
        assert answer.headers["access-control-allow-headers"] == wanted

    def test_pages_reach_the_loopback(self) -> None:
        answer = self.preflight(self.RULES, Access_Control_Request_Private_Network="true")

        assert answer.headers["access-control-allow-private-network"] == "true"

    def test_a_page_reads_what_is_wrong(self) -> None:
        answer = ask(self.RULES, "POST", Origin=self.PAGE)

        assert answer.status_code == 401
        assert answer.headers["access-control-allow-origin"] == self.PAGE

    @pytest.mark.parametrize("method", ["POST", "OPTIONS"])
    def test_other_pages_do_not(self, method: str) -> None:
        other: dict[str, Any] = {"Origin": "https://other.example", "Access_Control_Request_Method": "POST"}
        answer = ask(self.RULES, method, **other)

        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers
