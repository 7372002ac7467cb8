"""The page at `/`: who gets it, under which rules, and that its libraries are what was published."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from qwen_cli.engines.core.base import Capabilities, Seeing
from qwen_cli.serve.api import auth, page
from qwen_cli.serve.api.auth import Rules
from tests.serve.played import Here, Played, serving

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
KEY = {"Authorization": "Bearer secret"}
LOCAL = Rules(("secret",), auth.hosts("127.0.0.1"))
VENDOR = page.FOLDER / "vendor"


@pytest.fixture(scope="module")
def here() -> Iterator[Here]:
    with serving(Played(), rules=LOCAL) as running:
        yield running


@pytest.fixture(scope="module")
def public() -> Iterator[Here]:
    """A server that others reach."""
    with serving(Played(), rules=Rules(("secret",), auth.hosts("0.0.0.0"))) as running:
        yield running


class TestWhoGetsIt:
    def test_a_browser_does_without_a_key(self, here: Here) -> None:
        answer = httpx.get(here.url, headers=BROWSER)

        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert "<title>qwen</title>" in answer.text
        assert "secret" not in answer.text

    @pytest.mark.parametrize("accept", ["*/*", "application/json", "text/plain", ""])
    def test_others_get_what_ollama_says(self, here: Here, accept: str) -> None:
        answer = httpx.get(here.url, headers={"Accept": accept})

        assert "Ollama is running" in answer.text
        assert answer.headers["vary"] == "Accept"

    @pytest.mark.parametrize("headers", [BROWSER, {}], ids=["browser", "client"])
    def test_head(self, here: Here, headers: dict[str, str]) -> None:
        answer, whole = httpx.head(here.url, headers=headers), httpx.get(here.url, headers=headers)

        assert (answer.status_code, answer.content) == (200, b"")
        for name in ("content-length", "content-type"):
            assert answer.headers[name] == whole.headers[name]

    def test_every_file_that_it_asks_for_is_there(self, here: Here) -> None:
        names = set(re.findall(r'(?:src|href)="(/[^"]+)"', httpx.get(here.url, headers=BROWSER).text))
        scripts = [name for name in page.files() if name.endswith(".js") and "/" not in name]
        for name in scripts:
            text = (page.FOLDER / name).read_text()
            names |= {f"/page/{one}" for one in re.findall(r'from "\./([^"]+)"', text)}

        assert {f"/page/{name}" for name in scripts} <= names, "a module that nobody imports"
        with httpx.Client(base_url=here.url) as client:
            for name in names:
                assert client.get(name).status_code == 200, name

    def test_a_file_that_has_not_changed_is_not_sent_again(self, here: Here) -> None:
        url = f"{here.url}/page/main.js"
        tag = httpx.get(url).headers["etag"]

        assert httpx.get(url, headers={"If-None-Match": tag}).status_code == 304
        assert httpx.get(url, headers={"If-None-Match": '"other"'}).status_code == 200

    @pytest.mark.parametrize(
        "path",
        [
            "/page/",
            "/page/none.js",
            "/page/../app.py",
            "/page/%2e%2e/app.py",
            "/page//etc/passwd",
            "/page/vendor",
        ],
    )
    def test_no_other_file_is(self, here: Here, path: str) -> None:
        answer = httpx.get(f"{here.url}{path}", headers={**BROWSER, **KEY})

        assert answer.status_code == 404
        assert answer.json()["error"]["message"].startswith("there is no GET ")

    @pytest.mark.parametrize("path", ["/v1/models", "/props", "/pages", "/page", "/metrics", "/api/ps"])
    def test_nothing_else_is_open(self, here: Here, path: str) -> None:
        assert httpx.get(f"{here.url}{path}", headers=BROWSER).status_code == 401

    @pytest.mark.parametrize("path", ["/", "/page/main.js"])
    def test_it_is_only_read(self, here: Here, path: str) -> None:
        assert httpx.post(f"{here.url}{path}").status_code == 401
        refused = httpx.post(f"{here.url}{path}", headers=KEY)
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")

    @pytest.mark.parametrize("path", ["/", "/page/main.js", "/page/vendor/katex.min.js"])
    def test_on_other_addresses_there_is_none(self, public: Here, path: str) -> None:
        assert httpx.get(f"{public.url}{path}", headers=BROWSER).status_code == 401
        keyed = httpx.get(f"{public.url}{path}", headers={**BROWSER, **KEY})
        assert "Ollama is running" in keyed.text if path == "/" else keyed.status_code == 404

    @pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80"])
    def test_under_a_name_that_was_pointed_here_there_is_none(self, here: Here, host: str) -> None:
        for path in ("/", "/page/main.js"):
            assert httpx.get(f"{here.url}{path}", headers={**BROWSER, "Host": host}).status_code == 403


class TestRules:
    @pytest.mark.parametrize("name", ["/", "/page/main.js", "/page/icon.svg", "/page/vendor/katex.min.css"])
    def test_nothing_from_elsewhere(self, here: Here, name: str) -> None:
        headers = httpx.get(f"{here.url}{name}", headers=BROWSER).headers
        policy = dict(one.split(" ", 1) for one in headers["content-security-policy"].split("; "))

        assert policy["default-src"] == "'none'"
        assert (
            policy["script-src"]
            == policy["style-src"]
            == policy["connect-src"]
            == policy["font-src"]
            == "'self'"
        )
        assert policy["img-src"] == "'self' data: blob:"
        assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
        assert policy["require-trusted-types-for"] == "'script'"
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"

    def test_its_own_files_name_no_other_place(self) -> None:
        for name in page.files():
            if not name.startswith("vendor/") and name != "icon.svg":
                text = (page.FOLDER / name).read_text().replace("http://www.w3.org/2000/svg", "")
                assert not re.search(r"https?://|//[a-z]+\.", text), name
                assert not re.search(
                    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text
                ), name

    def test_its_own_requests_are_let_in(self, here: Here) -> None:
        own = {**KEY, "Origin": here.url}

        assert httpx.get(f"{here.url}/v1/models", headers=own).status_code == 200
        answer = httpx.post(
            f"{here.url}/v1/chat/completions",
            json={"messages": [{"role": "user", "content": "a"}]},
            headers=own,
        )
        assert answer.status_code == 200
        assert httpx.get(f"{here.url}/v1/models", headers={"Origin": here.url}).status_code == 401

    @pytest.mark.parametrize(
        "origin",
        ["http://evil.example", "http://localhost:1", "https://127.0.0.1", "null", "http://127.0.0.1", ""],
    )
    def test_those_of_other_pages_are_not(self, here: Here, origin: str) -> None:
        headers = {**KEY, "Origin": origin}
        assert httpx.get(f"{here.url}/v1/models", headers=headers).status_code == 403

    def test_nor_at_another_address_by_its_name(self, public: Here) -> None:
        """There any name can be pointed at it."""
        headers = {**KEY, "Host": "evil.example", "Origin": "http://evil.example"}
        assert httpx.get(f"{public.url}/v1/models", headers=headers).status_code == 403


class TestLibraries:
    LIBRARIES: Any = json.loads((VENDOR / "libraries.json").read_text())

    def test_are_what_was_published(self) -> None:
        files = {one["path"]: one["sha256"] for library in self.LIBRARIES for one in library["files"]}
        there = {
            path.relative_to(VENDOR).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in VENDOR.rglob("*")
            if path.is_file() and path.parent.name != "licences" and path.name != "libraries.json"
        }

        assert there == files

    def test_have_their_licences_beside_them(self) -> None:
        texts = {text for library in self.LIBRARIES for text in library["licence_texts"]}

        assert texts == {f"licences/{path.name}" for path in (VENDOR / "licences").iterdir()}
        for library in self.LIBRARIES:
            assert re.fullmatch(r"[\d.]+", library["version"])
            assert library["source"] == f"npm:{library['name']}@{library['version']}"
            assert library["licence"] in ("MIT", "Apache-2.0 OR MPL-2.0")

    def test_are_small(self) -> None:
        assert sum(len(one.data) for one in page.files().values()) < 1_000_000


class TestBoxes:
    """`/v1/boxes`, from which the page draws."""

    JSON = '```json\n[{"bbox_2d": [100, 200, 300, 400], "label": "cup"}]\n```'

    @pytest.mark.parametrize(
        ("seeing", "answer", "found"),
        [
            (Seeing(32, "thousand"), JSON, {"label": "cup", "box": [200, 200, 600, 400]}),
            # Seen as 1,988 x 1,008: multiples of 28.
            (Seeing(28, "absolute"), JSON, {"label": "cup", "box": [101, 198, 302, 397]}),
            (
                Seeing(28, "tags"),
                "<|object_ref_start|>cup<|object_ref_end|><|box_start|>(100,200),(300,400)<|box_end|>",
                {"label": "cup", "box": [200, 200, 600, 400]},
            ),
            (
                Seeing(32, "thousand"),
                '{"point_2d": [500, 500], "label": "x"}',
                {"label": "x", "point": [1000, 500]},
            ),
        ],
        ids=["qwen3", "qwen2.5", "qwen2", "point"],
    )
    def test_are_in_pixels_of_what_was_sent(self, seeing: Seeing, answer: str, found: Any) -> None:
        with serving(Played(capabilities=Capabilities(16_384, vision=True, seeing=seeing))) as here:
            said = here.post("/v1/boxes", {"answer": answer, "pictures": [[2000, 1000]]})

        assert said.json()["data"] == [found]

    def test_a_picture_that_was_shown_smaller_for_want_of_context(self) -> None:
        can = Capabilities(1_024, vision=True, seeing=Seeing(28, "absolute"))
        with serving(Played(capabilities=can)) as here:
            asked = {
                "answer": '{"bbox_2d": [0, 0, 500, 500], "label": ""}',
                "pictures": [[2000, 2000], [56, 56]],
            }
            (one,) = here.post("/v1/boxes", {**asked, "picture": 0}).json()["data"]
            (other,) = here.post("/v1/boxes", asked).json()["data"]

        assert one["box"][2] > 1000  # 500 of the 756 or so that were seen
        assert other["box"] == [0, 0, 56, 56]

    @pytest.mark.parametrize(
        ("fields", "told"),
        [
            ({"pictures": []}, "from 1 to 64"),
            ({"pictures": [[1, 2, 3]]}, "[width, height]"),
            ({"pictures": [[0, 5]]}, "[width, height]"),
            ({"pictures": [[10**9, 5]]}, "[width, height]"),
            ({"pictures": [[5, 5]], "picture": 1}, "picture must be from 0 to 0"),
            ({"pictures": "x"}, "pictures"),
            ({"pictures": [[5000, 5]]}, "200 times"),
            ({"answer": "x" * 50_001}, "longer than 50,000"),
        ],
    )
    def test_what_makes_no_sense(self, fields: Any, told: str) -> None:
        can = Capabilities(16_384, vision=True, seeing=Seeing(32, "thousand"))
        with serving(Played(capabilities=can)) as here:
            answer = here.post("/v1/boxes", {"answer": self.JSON, "pictures": [[9, 9]], **fields})

        assert answer.status_code == 400
        assert told in answer.json()["error"]["message"]

    @pytest.mark.parametrize(
        ("can", "told"),
        [
            (Capabilities(4096), "sees no pictures"),
            (Capabilities(4096, vision=True, seeing=Seeing(boxes=None)), "writes coordinates is not known"),
        ],
    )
    def test_a_model_that_names_no_places(self, can: Capabilities, told: str) -> None:
        with serving(Played(capabilities=can)) as here:
            answer = here.post("/v1/boxes", {"answer": self.JSON, "pictures": [[9, 9]]})

        assert answer.status_code == 400
        assert told in answer.json()["error"]["message"]
