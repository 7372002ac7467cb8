"""Servers with names: what is kept of them, where their keys are, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keyring
import keyring.backend
import pytest

from qwen_cli import endpoints, settings
from qwen_cli.endpoints import Endpoint
from qwen_cli.errors import QwenError, UsageError
from tests.engines.conftest import Served, served  # noqa: F401  # a real llama.cpp server

Qwen = Callable[..., Any]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config.toml"
    monkeypatch.setenv("QWEN_CONFIG", str(path))
    return path


class Ring(keyring.backend.KeyringBackend):
    """A keyring that forgets when the test ends."""

    priority = 1  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        if self.kept.pop((service, username), None) is None:
            raise keyring.errors.PasswordDeleteError(username)


@pytest.fixture
def ring() -> Iterator[Ring]:
    before = keyring.get_keyring()
    ours = Ring()
    keyring.set_keyring(ours)
    yield ours
    keyring.set_keyring(before)


def test_what_is_added_is_found(file: Path) -> None:
    file.write_text("# mine\ntop_k = 5\n")
    endpoints.add(
        Endpoint("gpu1:8000", "lab", key_env="LAB_KEY", model="qwen3:32b", headers={"X-Team": "nlp"})
    )
    endpoints.add(Endpoint("https://host/v1", "cloud"))
    assert endpoints.find("lab") == Endpoint(
        "http://gpu1:8000/v1", "lab", "LAB_KEY", False, "qwen3:32b", {"X-Team": "nlp"}
    )
    assert list(endpoints.named()) == ["lab", "cloud"]
    assert settings.load(environ={}) == {"top_k": 5}
    assert file.read_text().startswith("# mine\ntop_k = 5\n")
    endpoints.add(Endpoint("gpu2:8000", "lab"))
    assert endpoints.find("lab") == Endpoint("http://gpu2:8000/v1", "lab")
    endpoints.remove("cloud")
    endpoints.remove("lab")
    assert file.read_text().strip() == "# mine\ntop_k = 5"


@pytest.mark.parametrize(
    "given", ["http://lab:1", "10.0.0.1:8000", "localhost", "lab.example.org", "[::1]:80"]
)
def test_addresses_are_no_names(file: Path, given: str) -> None:
    assert endpoints.find(given) == Endpoint(given)


def test_an_unknown_name_is_told_with_the_nearest(file: Path) -> None:
    endpoints.add(Endpoint("gpu1:8000", "laboratory"))
    with pytest.raises(UsageError, match="no endpoint is called 'labratory'") as fault:
        endpoints.find("labratory")
    assert "did you mean 'laboratory'?" in str(fault.value.hint)
    with pytest.raises(UsageError) as fault:
        endpoints.find("gpu1")
    assert "http://gpu1:8000" in str(fault.value.hint)


class TestKeys:
    def test_from_the_environment(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        endpoints.add(Endpoint("gpu1:8000", "lab", key_env="LAB_KEY"))
        with pytest.raises(QwenError, match="LAB_KEY is not set"):
            endpoints.find("lab").key()
        monkeypatch.setenv("LAB_KEY", "sesame")
        assert endpoints.find("lab").key() == "sesame"

    def test_from_the_keyring(self, file: Path, ring: Ring) -> None:
        endpoints.add(Endpoint("gpu1:8000", "lab", keyring=True), "sesame")
        assert endpoints.find("lab").key() == "sesame"
        assert "sesame" not in file.read_text()
        endpoints.remove("lab")
        assert not ring.kept

    def test_a_keyring_without_it(self, file: Path, ring: Ring) -> None:
        endpoints.add(Endpoint("gpu1:8000", "lab", keyring=True), "sesame")
        ring.kept.clear()
        with pytest.raises(QwenError, match="has no key of 'lab'"):
            endpoints.find("lab").key()

    def test_without_the_package(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "keyring", None)
        with pytest.raises(QwenError, match="need the package `keyring`"):
            endpoints.add(Endpoint("gpu1:8000", "lab", keyring=True), "sesame")

    def test_headers_from_the_environment(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        endpoints.add(Endpoint("gpu1:8000", "lab", headers={"X-Token": "$TOKEN", "X-Team": "nlp"}))
        with pytest.raises(QwenError, match="TOKEN is not set"):
            endpoints.find("lab").sent()
        monkeypatch.setenv("TOKEN", "sesame")
        assert endpoints.find("lab").sent() == {"X-Token": "sesame", "X-Team": "nlp"}


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("lab = 3", "must be a table"),
        ('lab.url = "http://a"\nlab.api_key = "sesame"', "key does not belong in a file"),
        ('lab.url = "http://a"\nlab.key_env = "sk-12345-67"', "11 characters"),
        ('lab.url = "http://a"\nlab.headers.Authorization = "Bearer sesame"', "looks like a secret"),
        ('lab.url = "http://me:sesame@a"', "holds a password"),
        ('lab.url = "http://a"\nlab.keyring = true\nlab.key_env = "A"', "choose one"),
        ('lab.model = "m"', "has no url"),
        ('lab.url = "http://a"\nlab.timeout = 3', "'timeout'"),
    ],
)
def test_what_is_refused_in_the_file(file: Path, table: str, says: str) -> None:
    file.write_text(f"[endpoints]\n{table}\n")
    with pytest.raises(UsageError) as fault:
        endpoints.find("lab")
    assert says in str(fault.value).replace("Choose", "choose").replace("A key", "a key")
    assert "sesame" not in str(fault.value)
    assert "sk-12345" not in str(fault.value)


def test_what_a_server_says_of_itself_does_not_steer_the_terminal() -> None:
    from qwen_cli.commands.config import endpoint

    assert endpoint._words("a\x1b]0;x\x07b\x1b[31m") == "ab"
    assert endpoint._words(["m\x1b[2J1", "\x9b31mn"]) == "m1, n"


class TestCommands:
    def test_a_real_server_under_a_name(self, qwen: Qwen, home: Path, served: Served) -> None:  # noqa: F811
        added = qwen(
            "config", "endpoint", "add", "lab", served.url, "--key-env", "LAB_KEY", "-m", served.model
        )
        assert added.returncode == 0, added.stderr
        listed = qwen("config", "endpoint", "list")
        assert listed.stdout.split() == ["lab", f"{served.url}/v1", served.model, "$LAB_KEY"]
        assert json.loads(qwen("config", "endpoint", "list", "--json").stdout)["lab"]["key_env"] == "LAB_KEY"

        checked = qwen("config", "endpoint", "check", "lab", "--json", LAB_KEY=served.key)
        told = json.loads(checked.stdout)
        assert (told["server"], told["model"], told["context"]) == ("llama.cpp", served.model, 512)
        assert told["counts tokens"] is True

        said = qwen(
            "chat", "Say hi.", "--endpoint", "lab", "--max-tokens", "5", "-t", "0", LAB_KEY=served.key
        )
        assert said.returncode == 0, said.stderr
        assert said.stdout.strip()

        assert qwen("config", "endpoint", "remove", "lab").returncode == 0
        assert qwen("config", "endpoint", "list").stdout == ""

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (["chat", "hi", "--endpoint", "lab"], "no endpoint is called 'lab'"),
            (["chat", "hi", "--endpoint", "http://127.0.0.1:9"], "cannot reach http://127.0.0.1:9/v1"),
            (["config", "endpoint", "add", "localhost", "http://a"], "cannot be called 'localhost'"),
            (["config", "endpoint", "add", "lab", "ftp://a"], "not the address of a server"),
            (["config", "endpoint", "add", "lab", "http://a", "--header", "X"], "wants NAME=VALUE"),
            (["config", "endpoint", "remove", "lab"], "no endpoint is called 'lab'"),
        ],
    )
    def test_bad_input_is_one_line(self, qwen: Qwen, words: list[str], says: str) -> None:
        done = qwen(*words)
        assert done.returncode in (1, 2)
        assert says in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr

    def test_a_wrong_key_and_a_model_that_is_not_there(
        self,
        qwen: Qwen,
        home: Path,
        served: Served,  # noqa: F811
    ) -> None:
        wrong = qwen("chat", "hi", "--endpoint", served.url, QWEN_API_KEY="wrong")
        assert wrong.returncode == 1
        assert "refuses the API key" in wrong.stderr
        assert wrong.stderr.count("\n") == 1
        absent = qwen("chat", "hi", "--endpoint", served.url, "-m", "gpt-9", QWEN_API_KEY=served.key)
        assert f"does not serve 'gpt-9'. It serves {served.model}" in absent.stderr

    def test_the_key_of_another_server_is_not_sent(
        self,
        qwen: Qwen,
        home: Path,
        served: Served,  # noqa: F811
    ) -> None:
        qwen("config", "endpoint", "add", "lab", served.url)
        done = qwen("chat", "hi", "--endpoint", "lab", QWEN_API_KEY=served.key)
        assert "refuses the API key" in done.stderr
