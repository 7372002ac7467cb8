"""Templates: read whole or refused in a line, filled in without reading the values again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_cli import project
from qwen_cli.errors import UsageError
from qwen_cli.tasks.chat import templates

WHOLE = """
description = "Review a change."
system = "You review ${language}."
prompt = "For $$5, in $language:\\n$input"
model = "qwen3:8b"
schema = "faults.json"
think = false
[defaults]
language = "Python"
[sampling]
temperature = 0
max_tokens = 30
stop = ["END"]
"""


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QWEN_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setattr(project, "current", lambda: None)
    (tmp_path / "templates").mkdir()
    return tmp_path / "templates"


def made(text: str) -> templates.Template:
    return templates.parse(text.encode(), "t", Path("/x/t.toml"))


def test_all_of_a_template_is_read(own: Path) -> None:
    (own / "review.toml").write_text(WHOLE)
    one = templates.load("review")
    assert (one.name, one.description) == ("review", "Review a change.")
    assert one.settings == {"temperature": 0.0, "max_tokens": 30, "model": "qwen3:8b"}
    assert (one.schema, one.think, one.stop) == (str(own / "faults.json"), False, ("END",))
    assert one.variables == ["language", "input"]
    assert templates.load(str(own / "review.toml")) == one


def test_it_is_filled_in(own: Path) -> None:
    filled = templates.fill(made(WHOLE), {"language": "C"}, "x = 1")
    assert (filled.system, filled.prompt) == ("You review C.", "For $5, in C:\nx = 1")
    assert templates.fill(made(WHOLE), {}, "x").system == "You review Python."


@given(st.text(), st.text())
def test_values_are_taken_as_they_are(language: str, asked: str) -> None:
    """A dollar sign in a file is no variable."""
    filled = templates.fill(made('prompt = "$language|$input"'), {"language": language}, asked)
    assert filled.prompt == f"{language}|{asked}"


def test_what_is_asked_is_never_lost() -> None:
    assert templates.fill(made('prompt = "Sum up."'), {}, "text").prompt == "Sum up.\n\ntext"
    assert templates.fill(made('prompt = "Sum up."'), {}, None).prompt == "Sum up."
    assert templates.fill(made('system = "Be short."'), {}, "text").prompt == "text"
    assert templates.fill(made('system = "Be short."'), {}, None).prompt is None


@pytest.mark.parametrize(
    ("text", "values", "asked", "says"),
    [
        ('prompt = "$a $b"', {"a": "1"}, "x", "template t needs b"),
        ('prompt = "$input"', {}, None, "needs something to work on"),
        ('prompt = "$language"', {"langage": "x"}, None, "no variable 'langage'. Did you mean 'language'"),
        ('prompt = "hi"', {"a": "x"}, None, "no variable 'a'. It has none"),
        ('prompt = "$input"', {"input": "x"}, "y", "no variable 'input'"),
    ],
)
def test_a_value_without_a_variable_or_the_other_way_round(text, values, asked, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        templates.fill(made(text), values, asked)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "neither a system prompt nor a prompt"),
        ('promt = "x"', "a template has no 'promt'. Did you mean 'prompt'?"),
        ('tools = ["x.py"]', "a template has no 'tools'"),
        ('endpoint = "http://x"', "a template has no 'endpoint'"),
        ("prompt = 3", "prompt must be text, got 3"),
        ('prompt = " "', "prompt is empty"),
        ('prompt = "x"\nthink = "no"', "think must be true or false"),
        ('prompt = "x"\nschema = 3', "schema must be a table"),
        ('prompt = "costs $5"', "'$5' is no variable. Write $$"),
        ('prompt = "100$"', "'$' is no variable"),
        ('prompt = "${a b}"', "is no variable"),
        ('prompt = "x"\n[defaults]\na = "b"', "the default 'a' is used nowhere"),
        ('prompt = "$a"\n[defaults]\na = ["b"]', "the default 'a' must be text"),
        (
            'prompt = "x"\n[sampling]\ntemprature = 1',
            "sampling has no 'temprature'. Did you mean 'temperature'",
        ),
        ('prompt = "x"\n[sampling]\ntemperature = 9', "temperature must be at least 0 and at most 5"),
        ('prompt = "x"\n[sampling]\nstop = [""]', "stop must be a list of texts"),
        ('prompt = "x"\n[sampling]\nsystem = "x"', "sampling has no 'system'"),
        ("prompt = ", "not valid TOML"),
    ],
)
def test_what_is_no_template_is_refused_with_its_file(text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        made(text)
    assert says in str(caught.value)
    assert str(caught.value).startswith("/x/t.toml")
    assert "\n" not in str(caught.value).rstrip()


def test_a_name_that_is_nobodys_gets_those_near_it(own: Path) -> None:
    (own / "review.toml").write_text('prompt = "x"')
    with pytest.raises(UsageError, match=r"no template 'reviw'\. Did you mean 'review'"):
        templates.load("reviw")
    with pytest.raises(UsageError, match=r"no template 'x'\. There are review"):
        templates.load("x")
    with pytest.raises(UsageError, match=r"there is no file .*none\.toml"):
        templates.load("./none.toml")


@pytest.mark.parametrize("name", ["../x", "", "a/b", ".hidden", "a b"])
def test_names_that_are_paths_are_written_nowhere(name: str) -> None:
    with pytest.raises(UsageError, match="no name for a template"):
        templates.own_path(name)


def test_a_projects_own_comes_first_as_it_was_agreed_to(own: Path, monkeypatch, tmp_path: Path) -> None:
    (own / "review.toml").write_text('prompt = "mine"')
    there = project.Project(tmp_path / "p", {}, {"review": b'prompt = "theirs"'}, "d")
    monkeypatch.setattr(project, "current", lambda: there)
    one = templates.load("review")
    assert (one.prompt, one.path) == ("theirs", tmp_path / "p/.qwen/templates/review.toml")
    assert templates.known() == {"review": one.path}


@given(st.text(max_size=60))
def test_any_prompt_is_filled_in_or_refused(text: str) -> None:
    try:
        one = made(f"prompt = {json.dumps(text, ensure_ascii=True)}")
    except UsageError:
        return
    values = {name: "v" for name in one.variables if name != "input"}
    filled = templates.fill(one, values, "asked")
    assert filled.prompt
    assert "asked" in filled.prompt
