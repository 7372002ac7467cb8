"""What programs are told of the server, and how it gets into their files: whatever is there stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tomlkit
import yaml  # type: ignore[import-untyped]
from typer.testing import CliRunner

from qwen_cli.commands.serve import client_configs
from qwen_cli.commands.serve.client_configs import CLIENTS, Config, Served
from qwen_cli.errors import UsageError

SERVED = Served("http://127.0.0.1:8080", "qwen3:8b", 16_384, key_file=Path("/run/user/1000/qwen/serve.key"))
KEYS = (
    SERVED,
    Served("http://127.0.0.1:8080", "qwen3:8b", sees=True),
    Served("http://127.0.0.1:8080", "qwen3:8b", keyless=True),
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "CODEX_HOME", "CLAUDE_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def parsed(config: Config, text: str) -> Any:
    forms = {"json": json.loads, "toml": lambda text: tomlkit.parse(text).unwrap(), "yaml": yaml.safe_load}
    return forms[config.form](text)


class TestWhatIsTold:
    @pytest.mark.parametrize("name", CLIENTS)
    @pytest.mark.parametrize("served", KEYS, ids=("made up", "own", "none"))
    def test_each_is_told_where_and_what(self, name: str, served: Served) -> None:
        config = CLIENTS[name](served)
        told = "\n".join((config.text(), *config.exports, *config.steps))

        assert "http://127.0.0.1:8080" in told
        assert "qwen3:8b" in told or name == "open-webui"  # which lists them itself
        assert "null" not in told
        assert not config.values or parsed(config, config.text()) == config.values

    @pytest.mark.parametrize("name", CLIENTS)
    def test_no_key_is_written_down(self, name: str, tmp_path: Path) -> None:
        """It is named: by its file, or by a variable. One that is made up is another tomorrow."""
        file = tmp_path / "serve.key"
        file.write_text("secret-secret")
        config = CLIENTS[name](Served("http://127.0.0.1:8080", "m", key_file=file))

        assert "secret-secret" not in "\n".join((config.text(), *config.exports, *config.steps))

    def test_folders_that_were_moved(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_CONFIG_HOME", "/c")
        monkeypatch.setenv("CODEX_HOME", "/x")
        monkeypatch.setenv("CLAUDE_CONFIG_DIR", "/l")

        files = [str(CLIENTS[name](SERVED).file) for name in ("opencode", "codex", "claude-code")]
        assert files == ["/c/opencode/opencode.json", "/x/config.toml", "/l/settings.json"]


class TestFiles:
    @pytest.mark.parametrize("name", [name for name, make in CLIENTS.items() if make(SERVED).file])
    def test_a_new_one_and_once_more(self, name: str) -> None:
        config = CLIENTS[name](SERVED)
        text = config.merged("")

        assert parsed(config, text) == config.values
        assert parsed(config, config.merged(text)) == config.values

    def test_json_keeps_what_is_there(self) -> None:
        config = CLIENTS["claude-code"](SERVED)
        old = {"theme": "dark", "env": {"OTHER": "1", "ANTHROPIC_MODEL": "old"}, "hooks": [1]}
        new = json.loads(config.merged(json.dumps(old, indent=4)))

        assert (new["theme"], new["hooks"], new["env"]["OTHER"]) == ("dark", [1], "1")
        assert new["env"]["ANTHROPIC_MODEL"] == "qwen3:8b"
        assert "\n    " in config.merged(json.dumps(old, indent=4))

    def test_lists_of_models_keep_the_others(self) -> None:
        config = CLIENTS["qwen-code"](SERVED)
        other = {"id": "other", "name": "Other", "baseUrl": "https://a.example"}
        ours = {**config.values["modelProviders"]["openai"][0], "envKey": "OLD"}
        old = {"modelProviders": {"openai": [other, ours]}}

        new = json.loads(config.merged(json.dumps(old)))["modelProviders"]["openai"]
        assert new == [other, config.values["modelProviders"]["openai"][0]]

    def test_toml_keeps_comments(self) -> None:
        old = '# mine\nmodel = "gpt" # fast\n\n[model_providers.other]\nname = "Other"\n\n[tui]\na = 1\n'
        text = CLIENTS["codex"](SERVED).merged(old)

        assert "# mine" in text
        told = tomlkit.parse(text).unwrap()
        assert (told["model"], told["model_provider"], told["tui"]) == ("qwen3:8b", "qwen", {"a": 1})
        assert set(told["model_providers"]) == {"other", "qwen"}

    @pytest.mark.parametrize(
        "old",
        [
            "# mine\nname: My own\nmodels: # all\n  - name: Other # one\n    provider: x\nrules:\n  - a\n",
            "name: My own\nmodels:\n- name: Other\n  provider: x\n# end",
            "rules:\n  - a\n",
            "# nothing\n",
        ],
    )
    def test_yaml_keeps_comments(self, old: str) -> None:
        config = CLIENTS["continue"](SERVED)
        text = config.merged(old)

        before, after = yaml.safe_load(old) or {}, yaml.safe_load(text)
        assert all(line in text for line in old.splitlines())
        assert after["models"] == config.values["models"] + before.get("models", [])
        assert after["name"] == before.get("name", "Local")
        assert config.merged(text) == text

    @pytest.mark.parametrize(
        ("name", "old"),
        [
            ("zed", '{\n  // a comment\n  "theme": "One"\n}'),
            ("opencode", "[]"),
            ("codex", "model ="),
            ("continue", "models: {name: x}\n"),
            ("continue", "models: [{name: x}]\n"),
            ("continue", "- a\n"),
            ("aider", "model: |\n  x\n  y\n"),
            ("continue", "a: b: c\n"),
        ],
    )
    def test_what_would_be_lost_is_left_alone(self, name: str, old: str) -> None:
        with pytest.raises(UsageError, match="by hand"):
            CLIENTS[name](SERVED).merged(old)


class TestCommand:
    @pytest.fixture
    def run(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
        from qwen_cli.commands import main

        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))  # no server is there
        return lambda *words: CliRunner().invoke(main.app, ["serve", *words])

    def test_it_prints_the_file_alone(self, run: Any, home: Path) -> None:
        done = run("qwen3:8b", "--for", "opencode", "--port", "9000")

        assert done.exit_code == 0, done.output
        values = json.loads(done.stdout)
        assert values["provider"]["qwen"]["options"]["baseURL"] == "http://127.0.0.1:9000/v1"
        assert values["model"] == "qwen/qwen3:8b"
        assert not (home / ".config").exists()

    def test_it_writes(self, run: Any, home: Path) -> None:
        file = home / ".claude" / "settings.json"
        file.parent.mkdir()
        file.write_text('{"theme": "dark"}')
        done = run("--for", "claude-code", "--write", "--no-key")

        assert (done.exit_code, done.stdout) == (0, ""), done.output
        told = json.loads(file.read_text())
        assert told["theme"] == "dark"
        assert told["env"]["ANTHROPIC_AUTH_TOKEN"] == "none"
        assert "has it already" in run("--for", "claude-code", "--write", "--no-key").stderr

    @pytest.mark.parametrize(("words", "model", "context"), [([], "first", 4096), (["other"], "other", None)])
    def test_of_the_server_that_runs(
        self, run: Any, monkeypatch: pytest.MonkeyPatch, words: list[str], model: str, context: int | None
    ) -> None:
        from qwen_cli.engines.daemon import client

        models = [{"model": "first", "context": 4096}, {"model": "second", "context": 99}]
        running = {"address": "http://127.0.0.1:9", "models": models}  # where nobody listens
        monkeypatch.setattr(client, "request", lambda path: running)
        told = tomlkit.parse(run(*words, "--for", "codex").stdout).unwrap()

        assert told["model_providers"]["qwen"]["base_url"] == "http://127.0.0.1:9/v1"
        assert told["model_providers"]["qwen"]["env_key"] == "QWEN_SERVE_KEY"
        assert (told["model"], told.get("model_context_window")) == (model, context)

    def test_a_file_that_cannot_be_added_to_stays(self, run: Any, home: Path) -> None:
        file = home / ".config" / "zed" / "settings.json"
        file.parent.mkdir(parents=True)
        file.write_text('{ "theme": "One" } // mine')
        done = run("--for", "zed", "--write")

        assert isinstance(done.exception, UsageError)
        assert str(file) in str(done.exception)
        assert file.read_text() == '{ "theme": "One" } // mine'

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (["--for", "emacs"], "claude-code, codex"),
            (["--write"], "--for"),
            (["--for", "cline", "--write"], "no file"),
        ],
    )
    def test_what_is_wrong_is_said(self, run: Any, words: list[str], says: str) -> None:
        done = run(*words)

        assert done.exit_code != 0
        assert says in str(done.exception)


def test_merging_twice_is_merging_once() -> None:
    config = client_configs.zed(SERVED)

    assert config.merged(config.merged("")) == config.merged("")
