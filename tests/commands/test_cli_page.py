"""docs/cli.md says what the commands say."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def maker() -> Any:
    spec = importlib.util.spec_from_file_location("make_cli", DOCS / "make_cli.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_commands_say(maker: Any) -> None:
    assert (DOCS / "cli.md").read_text("utf-8") == maker.page(), "run `python docs/make_cli.py`"


def test_every_command_has_a_section_and_each_link_leads_to_one(maker: Any) -> None:

    page = maker.page()
    headings = {
        maker._anchor(line.removeprefix("## ")) for line in page.splitlines() if line.startswith("## ")
    }
    assert {"qwen-chat", "qwen-models-plan", "qwen-config-endpoint-add", "model-and-loading"} <= headings
    assert set(re.findall(r"\(#([\w-]+)\)", page)) <= headings


def test_a_bar_in_a_text_does_not_end_its_cell(maker: Any) -> None:
    assert maker._table([("--it <a|b>", "*a* or <b>")])[2] == r"| `--it <a\|b>` | \*a\* or &lt;b> |"
