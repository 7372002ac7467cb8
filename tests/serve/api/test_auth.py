"""Who may talk to the server."""

from __future__ import annotations

import stat
from typing import Any

import httpx
import pytest
from served import Server
from starlette.responses import PlainTextResponse

from qwen_cli.serve.api import auth
from qwen_cli.serve.api.auth import Guard, Rules


async def asked(
    rules: Rules, method: str = "GET", path: str = "/v1/models", **headers: str
) -> httpx.Response:
    transport = httpx.ASGITransport(Guard(PlainTextResponse("in"), rules))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return await client.request(
            method, path, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )


def ask(rules: Rules, *words: str, **headers: str) -> httpx.Response:
    import asyncio

    return asyncio.run(asked(rules, *words, **headers))


KEYED = Rules(("secret", "other"), auth.hosts("127.0.0.1"))


class TestKeys:
    @pytest.mark.parametrize(
        "given",
        [{"Authorization": "Bearer secret"}, {"Authorization": "bearer other"}, {"x_api_key": "other"}],
    )
    def test_any_of_the_keys_is_taken(self, given: Any) -> None:
        assert ask(KEYED, **given).text == "in"

    @pytest.mark.parametrize(
        "given",
        [
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": "Bearer "},
            {"Authorization": "secret"},
            {"x_api_key": ""},
        ],
    )
    def test_nothing_else_is(self, given: Any) -> None:
        answer = ask(KEYED, **given)

        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"

    def test_health_needs_none(self) -> None:
        assert ask(KEYED, "GET", "/health").status_code == 200

    def test_a_made_up_key_lies_where_only_its_user_reads_it(self, server: Server) -> None:
        file = server.runtime / "qwen" / "serve.key"

        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE((file.parent / "serve.sock").stat().st_mode) == 0o600
        assert httpx.get(f"{server.url}/v1/models").status_code == 401


class TestHosts:
    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8080", "[::1]:80", "LOCALHOST"])
    def test_its_own_names(self, host: str) -> None:
        assert ask(KEYED, Host=host, Authorization="Bearer secret").status_code == 200

    @pytest.mark.parametrize(
        "host", ["evil.example", "127.0.0.1.evil.example", "", "localhost@evil.example", "["]
    )
    def test_a_name_that_was_pointed_here(self, host: str) -> None:
        assert ask(KEYED, Host=host, Authorization="Bearer secret").status_code == 403

    def test_elsewhere_than_loopback_names_are_not_known(self) -> None:
        assert auth.hosts("0.0.0.0") is None
        assert ask(Rules(("secret",), None), Host="gpu-box.lan", Authorization="Bearer secret").text == "in"


class TestOrigins:
    PAGE = "https://page.example"

    def test_a_page_may_not_even_without_keys(self) -> None:
        assert ask(Rules(), "POST", Origin=self.PAGE).status_code == 403

    def test_a_page_that_was_named_may_and_reads_the_answer(self) -> None:
        answer = ask(Rules(origins=(self.PAGE,)), Origin=self.PAGE)

        assert answer.text == "in"
        assert answer.headers["access-control-allow-origin"] == self.PAGE

    def test_its_browser_asks_first_without_the_key(self) -> None:
        rules = Rules(("secret",), origins=(self.PAGE,))
        answer = ask(rules, "OPTIONS", Origin=self.PAGE, Access_Control_Request_Method="POST")

        assert answer.status_code == 200
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert answer.headers["access-control-allow-methods"] == "GET, POST, DELETE, OPTIONS"
        assert "Authorization" in answer.headers["access-control-allow-headers"]
        assert ask(rules, "POST", Origin=self.PAGE).status_code == 401


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("box.lan", False),
    ],
)
def test_what_only_this_machine_reaches(address: str, loopback: bool) -> None:
    assert auth.is_loopback(address) is loopback
