"""Each client asks twice: for the weather, which its tool tells where it has tools, and once more after its
answer was sent back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
from served import Server, serving

from tests.clients.conftest import Environment, run

PROGRAMS = Path(__file__).parent / "programs"
OWN = {"pydantic_ai_chat": "pydantic-ai", "agents_chat": "openai-agents"}
TOLD, SAID = "The tool says: sunny", "You said: Thanks."


def variables(server: Server, home: Path) -> dict[str, str]:
    return {"QWEN_URL": server.url, "QWEN_KEY": server.key, "HOME": str(home)}


@pytest.mark.parametrize("program", sorted(PROGRAMS.glob("*.py")), ids=lambda path: path.stem)
def test_packages_for_python(program: Path, server: Server, environment: Environment, tmp_path: Path) -> None:
    python = environment(OWN.get(program.stem, "packages")) / "python"
    said = run([str(python), str(program)], **variables(server, tmp_path))

    if program.stem == "openai_completions":
        assert said.split() == ["yes", "yes"]
    else:
        assert TOLD in said
        assert SAID in said


@pytest.mark.parametrize("program", sorted(PROGRAMS.glob("*.mjs")), ids=lambda path: path.stem)
def test_packages_for_node(program: Path, server: Server, environment: Environment, tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    here = environment("node") / program.name  # packages are looked for beside the program
    shutil.copyfile(program, here)
    said = run(["node", str(here)], **variables(server, tmp_path))

    times = 2 if program.stem == "ai_package" else 1
    assert (said.count(TOLD), said.count(SAID)) == (times, times)


def test_llm(server: Server, environment: Environment, tmp_path: Path) -> None:
    models = (
        f"- model_id: mine\n  model_name: starter\n  api_base: {server.url}/v1\n"
        "  api_key_name: mine\n  supports_tools: true\n"
    )
    (tmp_path / "extra-openai-models.yaml").write_text(models)
    tool = 'def weather(city: str) -> str:\n    "Tell the weather."\n    return "sunny"\n'
    llm = str(environment("packages") / "llm")
    home = {"LLM_USER_PATH": str(tmp_path), "HOME": str(tmp_path)}
    asked = ["-m", "mine", "--key", server.key]
    first = run([llm, *asked, "--functions", tool, "What is the weather?"], **home)
    second = run([llm, *asked, "-c", "Thanks."], **home)

    assert TOLD in first
    assert SAID in second


def test_aider(server: Server, environment: Environment, tmp_path: Path) -> None:
    command = [str(environment("aider") / "aider"), "--model", "openai/starter", "--yes-always", "--no-git"]
    command += ["--no-show-model-warnings", "--no-check-update", "--no-analytics", "--map-tokens", "0"]
    said = run(
        [*command, "--openai-api-base", f"{server.url}/v1", "--message", "Thanks."],
        cwd=tmp_path,
        OPENAI_API_KEY=server.key,
        HOME=str(tmp_path),
    )

    assert "You said:" in said


VIMRC = """
set nocompatible noswapfile
let g:llama_config = {{'endpoint_fim': '{url}/infill', 'endpoint_inst': '{url}/v1/chat/completions',
    \\ 'api_key': '{key}', 'auto_fim': v:false, 'show_info': 0}}
set runtimepath+={plugin}
"""


def test_llama_vim(server: Server, environments: Path, tmp_path: Path) -> None:
    """In a terminal: a completion is asked for, shown, and taken by Tab."""
    if shutil.which("vim") is None:
        pytest.skip("vim is not installed")
    plugin = environments / "llama.vim"
    if not plugin.exists():
        run(["git", "clone", "-q", "--depth", "1", "https://github.com/ggml-org/llama.vim", str(plugin)])
    (tmp_path / "vimrc").write_text(VIMRC.format(url=server.url, key=server.key, plugin=plugin))
    file = tmp_path / "area.py"
    file.write_text("def area(wide, high):\n    return \n")
    screen = pexpect.spawn(
        "vim", ["-n", "-i", "NONE", "-u", str(tmp_path / "vimrc"), str(file)], encoding="utf-8", timeout=30
    )
    if screen.expect(["return", "requires version"]):
        pytest.skip("llama.vim wants a newer Vim")
    screen.send("jA\\llf")
    screen.expect("yes")
    screen.send("\t\x1b:wq\r")
    screen.expect(pexpect.EOF)

    assert file.read_text() == "def area(wide, high):\n    return yes\n"


QUESTIONS = [
    {"question": f"{a} plus {b} is", "answer": f" {a + b}", "choices": [f" {a + b}", f" {a - b}"], "gold": 0}
    for a, b in ((1, 1), (2, 3), (5, 1), (4, 4), (7, 2))
]
TASKS = {
    "generate": """
task: generate
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: ["\\n"], max_gen_toks: 16}}
metric_list: [{{metric: exact_match}}]
""",
    "likely": """
task: likely
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_target: gold
doc_to_choice: choices
metric_list: [{{metric: acc}}]
""",
}


@pytest.fixture(scope="module")
def starter(starter_gguf: Path) -> Iterator[Server]:
    with serving("--context", "4096") as running:
        yield running


@pytest.mark.parametrize(
    ("kind", "route", "task"),
    [
        ("local-chat-completions", "chat/completions", "generate"),
        ("local-completions", "completions", "generate"),
        ("local-completions", "completions", "likely"),
    ],
)
def test_lm_eval(
    kind: str,
    route: str,
    task: str,
    starter: Server,
    environment: Environment,
    starter_safetensors: Path,
    tmp_path: Path,
) -> None:
    """With the model's own tokens, on the model."""
    server = starter
    file = tmp_path / "questions.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in QUESTIONS))
    (tmp_path / f"{task}.yaml").write_text(TASKS[task].format(file=file))
    model = f"model=starter,base_url={server.url}/v1/{route},tokenizer={starter_safetensors}"
    command = [str(environment("lm-eval") / "lm_eval"), "--model", kind, "--model_args", model]
    command += ["--include_path", str(tmp_path), "--tasks", task, "--limit", "5"]
    command += ["--apply_chat_template"] if "chat" in kind else []
    said = run(
        [*command, "--output_path", str(tmp_path / "out")],
        cwd=tmp_path,
        OPENAI_API_KEY=server.key,
        HOME=str(tmp_path),
        HF_HUB_OFFLINE="1",
    )

    assert ("exact_match" if task == "generate" else "acc") in said
