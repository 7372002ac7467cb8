"""The page of `qwen serve` in a browser: Chromium as the system has it, driven by Playwright. What the model
says is written down in each test.

Skipped where either is missing: `pip install -e '.[browser]'` and the distribution's `chromium`.
With QWEN_WRITE_PICTURES=1 the pictures of docs/serve.md are taken anew.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from qwen_cli.engines.core.base import Capabilities, Piece, Seeing, Usage
from qwen_cli.errors import ContextFull
from qwen_cli.serve.api import auth
from qwen_cli.serve.api.auth import Rules
from tests.serve.played import Asked, Here, Played, serving

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
playwright.expect.set_options(timeout=60_000)
PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
Page = Any

END = Piece(usage=Usage(prompt_tokens=10, generated_tokens=30, decode_seconds=0.5))
SEEING = Capabilities(16_384, thinking="switch", vision=True, render=True, seeing=Seeing(32, "thousand"))


@pytest.fixture(scope="module")
def model() -> Played:
    return Played(capabilities=SEEING, model="qwen3-vl:8b")


@pytest.fixture(scope="module")
def here(model: Played) -> Iterator[Here]:
    with serving(model, rules=Rules(("secret",), auth.hosts("127.0.0.1"))) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def wrong() -> list[str]:
    """What must not happen on the page: a request to anybody else, a rule that is broken, a script that
    fails."""
    return []


@pytest.fixture(scope="module")
def context(browser: Any, here: Here, wrong: list[str]) -> Iterator[Any]:
    made = browser.new_context(viewport={"width": 1000, "height": 800})
    made.set_default_timeout(60_000)
    made.grant_permissions(["clipboard-read", "clipboard-write"], origin=here.url)
    own = (f"{here.url}/", "data:", "blob:")
    made.on("request", lambda request: request.url.startswith(own) or wrong.append(request.url))
    made.on("response", lambda answer: wrong.append(answer.url) if answer.status == 404 else None)
    yield made
    made.close()


@pytest.fixture
def page(context: Any, here: Here, model: Played, wrong: list[str]) -> Iterator[Page]:
    """The page with its key, in a tab of its own."""
    model.answer, model.capabilities = (lambda asked: "yes"), SEEING
    model.seen.clear()
    wrong.clear()
    opened = context.new_page()
    opened.on("console", lambda said: wrong.append(said.text) if is_fault(said) else None)
    opened.on("pageerror", lambda fault: wrong.append(str(fault)))
    opened.on("dialog", lambda dialog: (wrong.append(f"dialog {dialog.message}"), dialog.dismiss()))
    opened.goto(f"{here.url}/#key=secret")
    yield opened
    opened.close()
    assert wrong == []


def is_fault(said: Any) -> bool:
    """Whether it is one of the page: that the server refuses something is said there too."""
    return said.type == "error" and "Failed to load resource" not in said.text


def ask(page: Page, text: str) -> None:
    page.fill("#text", text)
    page.press("#text", "Enter")


def done(page: Page, answers: int = 1) -> None:
    """Wait until so many answers are complete."""
    playwright.expect(page.locator(".turn.assistant[aria-busy=false]")).to_have_count(answers)


def until(condition: Callable[[], object]) -> None:
    limit = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def pieces(*texts: str, thought: str = "") -> Callable[[Asked], Iterator[Piece]]:
    def said(asked: Asked) -> Iterator[Piece]:
        if thought:
            yield Piece(thought, "thinking")
        yield from map(Piece, texts)
        yield END

    return said


def endless(asked: Asked) -> Iterator[Piece]:
    while True:
        time.sleep(0.01)
        yield Piece("on and ")


def scene() -> bytes:
    """Two cups on a table, 800 x 600."""
    image = Image.new("RGB", (800, 600), "#efe6d8")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 420, 800, 600), fill="#9c6b3f")
    for left, top, color in ((120, 260, "#c0392b"), (480, 220, "#2471a3")):
        draw.rounded_rectangle((left, top, left + 160, top + 240), 24, fill=color)
        draw.ellipse((left + 140, top + 60, left + 220, top + 160), outline=color, width=18)
    written = io.BytesIO()
    image.save(written, "PNG")
    return written.getvalue()


FOUND = """There are two cups:

```json
[{"bbox_2d": [150, 433, 350, 833], "label": "red cup"},
 {"bbox_2d": [600, 366, 800, 766], "label": "blue cup"}]
```
"""

DROP = """(bytes) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([new Uint8Array(bytes)], "table.png", { type: "image/png" }));
  dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
}"""


def drop(page: Page, data: bytes) -> None:
    before = page.locator("#attached img").count()
    page.evaluate(DROP, list(data))
    playwright.expect(page.locator("#attached img")).to_have_count(before + 1)


class TestKey:
    def test_it_leaves_the_address_and_goes_with_requests(self, page: Page, here: Here) -> None:
        assert page.url == f"{here.url}/"
        ask(page, "hi")
        done(page)
        assert page.locator(".turn.assistant .text").inner_text() == "yes"

    def test_without_it_the_page_asks(self, page: Page, here: Here) -> None:
        page.evaluate("sessionStorage.clear()")
        page.reload()
        playwright.expect(page.locator("#fault")).to_contain_text("API key is missing or wrong")
        page.fill("#key", "wrong")
        page.press("#key", "Enter")
        playwright.expect(page.locator("#fault")).to_contain_text("API key is missing or wrong")
        page.fill("#key", "secret")
        page.click("#usekey")
        playwright.expect(page.locator("#keyless")).to_be_hidden()
        playwright.expect(page.locator("#model")).to_have_value("qwen3-vl:8b")

    def test_another_tab_has_none(self, page: Page, here: Here) -> None:
        other = page.context.new_page()
        other.goto(here.url)
        playwright.expect(other.locator("#keyless")).to_be_visible()


class TestAnswers:
    def test_come_as_they_are_written(self, page: Page, model: Played) -> None:
        go_on = threading.Event()

        def said(asked: Asked) -> Iterator[Piece]:
            yield Piece("Let me *see*.", "thinking")
            yield Piece("# Roots\n\nFor $x^2 = 2$ it is **so")
            assert go_on.wait(60)
            yield Piece("**:\n\n$$\nx = \\pm\\sqrt{2}\n$$\n\n- one\n- two\n\n```python\nprint(1 < 2)\n```\n")
            yield END

        model.answer = said
        ask(page, "hi")
        text = page.locator(".turn.assistant .parts > .text")
        playwright.expect(text.locator("h1")).to_have_text("Roots")
        playwright.expect(text.locator(".katex")).to_have_count(1)
        assert page.locator("#stop").is_visible()
        go_on.set()
        done(page)
        assert text.locator("strong").inner_text() == "so"
        assert text.locator(".formula.display .katex-display").count() == 1
        assert text.locator("li").all_inner_texts() == ["one", "two"]
        assert text.locator("pre code").inner_text() == "print(1 < 2)\n"
        assert page.locator("#send").is_visible()
        assert re.search(r"30 tokens, (58|60)\.0 tokens/s, first after", page.locator(".stats").inner_text())

    def test_thinking_is_folded(self, page: Page, model: Played) -> None:
        model.answer = pieces("It is 4.", thought="Let me *see*.")
        ask(page, "hi")
        done(page)
        thought = page.locator("details.thinking")
        assert thought.get_attribute("open") is None
        assert not thought.locator("em").is_visible()
        thought.locator("summary").click()
        assert thought.locator("em").inner_text() == "see"

    def test_code_is_copied(self, page: Page, model: Played) -> None:
        model.answer = pieces("```sh\necho '<b>' && ls\n```\n")
        ask(page, "hi")
        done(page)
        page.click("figure.code button")
        playwright.expect(page.locator("figure.code button")).to_have_text("Copied")
        assert page.evaluate("navigator.clipboard.readText()") == "echo '<b>' && ls\n"

    def test_an_answer_is_copied_as_it_was_written(self, page: Page, model: Played) -> None:
        model.answer = pieces("It is **$x^2$**.", thought="Hm.")
        ask(page, "hi")
        done(page)
        page.click(".turn.assistant footer >> text=Copy")
        playwright.expect(page.locator(".turn.assistant footer")).to_contain_text("Copied")
        assert page.evaluate("navigator.clipboard.readText()") == "It is **$x^2$**."

    def test_columns_keep_their_side(self, page: Page, model: Played) -> None:
        model.answer = pieces("| a | b |\n|--:|:-:|\n| 1 | 2 |\n")
        ask(page, "hi")
        done(page)
        sides = page.eval_on_selector_all("td", "cells => cells.map(one => getComputedStyle(one).textAlign)")
        assert sides == ["right", "center"]

    FORMULAS = (
        (r"so $x^2$ costs $5 and $10.", ["x^2"]),
        (r"\(16 - 3 = 13\) eggs", ["16 - 3 = 13"]),
        ("\\[\n\\alpha_{ij}\n\\]\nthen", ["\n\\alpha_{ij}\n"]),
        (r"thus \boxed{\frac{3}{4}}.", [r"\boxed{\frac{3}{4}}"]),
        ("run `echo $A$` and ``x=`$B$` ``, then $x^2$", ["x^2"]),
        ("echo $A$B, US$5 to CA$10 or $x$y", []),
        ("$5 for tea, or 10$", []),
        ("cp $SRC_DIR/$DST_DIR $HOME_DIR$", []),
        ("其中$x_1$是整数，共$5$元", ["x_1", "5"]),
        ("价格$5，不是10$", []),
        ("the $n$th term, echo $A$s", ["n"]),
        ("kill $$ or $$ twice", []),
        (r"grep '\(foo\|bar\)' file", []),
        (r"$a*b*c$ and \(x_1 + x_2\)", ["a*b*c", "x_1 + x_2"]),
        ("$$\na\n- b\n= c\n$$", ["\na\n- b\n= c\n"]),
        ("- a\n  $$\n  x\n  $$\n- b", ["\nx\n"]),
        (r"\begin{align*} x &= 1 \\ y &= 2 \end{align*}", [r"\begin{align*} x &= 1 \\ y &= 2 \end{align*}"]),
        ("an open $x^2, \\[ and \\boxed{", []),
    )

    def test_formulas_are_those_of_the_terminal(self, page: Page) -> None:
        """The rules of tests/ui/test_latex.py."""
        script = """async (texts) => {
          const { formulas } = await import("/page/formulas.js");
          const parser = markdownit({ breaks: true }).use(formulas);
          const found = (tokens) => tokens.flatMap((one) =>
            one.type === "formula" ? [one.content] : found(one.children ?? []));
          return texts.map((text) => found(parser.parse(text, {})));
        }"""
        texts = [text for text, _ in self.FORMULAS]
        assert dict(zip(texts, page.evaluate(script, texts), strict=True)) == dict(self.FORMULAS)

    def test_no_formula_breaks_the_rules_of_the_page(self, page: Page, model: Played) -> None:
        formulas = (
            r"\vec{v} + \overrightarrow{AB} + \widehat{x}",
            r"\cancel{x} \color{red}{y} \fcolorbox{red}{blue}{z}",
            r"\pmb{x} \oiint \underbrace{a+b}_{n}",
            r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}",
        )
        model.answer = pieces("\n\n".join(f"$${one}$$" for one in formulas))
        ask(page, "hi")
        done(page)
        assert page.locator(".katex-html").count() == len(formulas)
        style = "one => [...one.querySelectorAll('[data-style]')].map((styled) => styled.style.cssText)"
        assert all(page.locator(".parts").evaluate(style))

    def test_what_is_no_formula_stays_as_it_is(self, page: Page, model: Played) -> None:
        model.answer = pieces(r"$\frac{1$ and $\nope{x}$ and $\href{javascript:pwned=1}{x}$")
        ask(page, "hi")
        done(page)
        assert r"\nope{x}" in page.locator(".parts").inner_text()
        assert page.locator(".parts a").count() == 0


class TestHostileText:
    TEXTS = (
        "<script>pwned = 1</script>",
        "<img src=x onerror='pwned = 1'>",
        "<svg onload='pwned = 1'><animate onbegin='pwned = 1'></svg>",
        "<iframe srcdoc='<script>parent.pwned = 1</script>'></iframe>",
        "<style>@import 'http://evil.example/x.css';</style><link rel=stylesheet href=http://evil.example/x>",
        "<form action=http://evil.example><button id=send formaction=javascript:pwned=1>x</button></form>",
        "<base href=http://evil.example/><meta http-equiv=refresh content='0;url=http://evil.example'>",
        "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=pwned=1&gt;",
        "![a picture](http://evil.example/p.png) ![](//evil.example/q.png) ![](/v1/models)",
        "![](data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9InB3bmVkPTEiLz4=)",
        "[js](javascript:pwned=1) [JS](JaVaScRiPt:pwned=1) [tab](java\tscript:pwned=1) [v](vbscript:x)",
        "[data](data:text/html,<script>pwned=1</script>) [blob](blob:null/x) [file](file:///etc/passwd)",
        "<javascript:pwned=1> <data:text/html,x> javascript:pwned=1",
        '[title](http://e.example/ "\\" onclick=pwned=1 x=\\"") [x](http://e.example/"onclick="pwned=1)',
        "```x\" onclick=\"pwned=1\n</code><script>pwned=1</script>\n```",
        "| <script>pwned=1</script> |\n|---|\n| <img src=x onerror=pwned=1> |",
        r"$\href{javascript:pwned=1}{x}$ $\htmlStyle{color:red}{x}$ $\includegraphics{http://evil.example/x.png}$",
        r"$\def\a{\a\a}\a$ $\rule{9999999em}{9999999em}$ $</span><img src=x onerror=pwned=1>$",
        "&lt;script&gt;pwned=1&lt;/script&gt; &#x3c;img src=x onerror=pwned=1&#x3e;",
        '<p id="text" class="formula" name="send">clobber</p>',
    )  # fmt: skip
    FORBIDDEN = frozenset({
        "script", "img", "iframe", "style", "link", "form", "base", "meta", "object", "input", "video",
    })  # fmt: skip
    ALIVE = """() => ({
      tags: [...new Set([...document.querySelectorAll(".parts *")].map((one) => one.localName))],
      handlers: [...document.querySelectorAll("*")].flatMap((one) => one.getAttributeNames())
        .filter((name) => name.startsWith("on")),
      links: [...document.querySelectorAll(".parts a")]
        .map((one) => [one.getAttribute("href"), one.rel, one.target]),
      ids: document.querySelectorAll(".parts [id], .parts [name]").length,
      pwned: typeof pwned,
    })"""

    def test_does_nothing(self, page: Page, model: Played) -> None:
        """As an answer in pieces, thinking, an error, and the user's own words."""
        text = "\n\n".join(self.TEXTS)
        model.answer = pieces(*(text[at : at + 9] for at in range(0, len(text), 9)), thought=text)
        ask(page, text)
        done(page)
        page.click("details.thinking summary")
        self.check(page.evaluate(self.ALIVE))

    def check(self, seen: dict[str, Any]) -> None:
        """Nothing of what is shown can do anything."""
        assert not set(seen["tags"]) & self.FORBIDDEN
        assert seen["handlers"] == []
        assert seen["ids"] == 0
        assert seen["pwned"] == "undefined"
        for address, rel, target in seen["links"]:
            if address is not None:
                assert address.startswith(("http://", "https://", "mailto:"))
                assert (rel, target) == ("noopener noreferrer", "_blank")

    def test_of_a_program_and_a_model_neither(self, page: Page, model: Played) -> None:
        hostile = "<img src=x onerror=pwned=1>"
        model.answer = solving(f"```python\nprint('{hostile}')\n```\n", f"So \\boxed{{{hostile}}}")
        page.click("#math")
        ask(page, "hi")
        done(page)
        playwright.expect(page.locator("figure.run pre")).to_have_text(hostile)
        assert page.evaluate(self.ALIVE)["pwned"] == "undefined"

    def test_is_cleaned_even_if_it_were_html(self, page: Page, wrong: list[str]) -> None:
        """The parser takes none for HTML; what is behind it must not rely on that."""
        script = """async (texts) => {
          const { elements } = await import("/page/markdown.js");
          const parts = document.createElement("div");
          parts.className = "parts";
          for (const text of texts) parts.append(elements(text));
          document.body.append(parts);
        }"""
        more = (
            "<a href='javascript:pwned=1' style='position:fixed'>x</a>",
            "<video src=http://evil.example/v>",
        )
        page.evaluate(script, [*self.TEXTS, *more])
        self.check(page.evaluate(self.ALIVE))
        styled = """() => [...document.querySelectorAll(".parts [src], .parts [style]")]
          .filter((one) => !one.closest(".katex")).length"""
        assert page.evaluate(styled) == 0
        wrong[:] = [one for one in wrong if "has been blocked" not in one]  # styles, before they are out

    def test_would_be_stopped_by_the_browser_too(self, browser: Any, here: Here) -> None:
        """If something got through: no script, no request, no HTML of a text."""
        context = browser.new_context()
        page = context.new_page()
        page.goto(here.url)
        script = """async () => {
          const tried = {};
          const attempt = async (name, act) => {
            try { await act(); tried[name] = "done"; } catch (fault) { tried[name] = fault.name; }
          };
          await attempt("html", () => { document.body.innerHTML += "<b>x</b>"; });
          await attempt("fetch", () => fetch("http://evil.example/"));
          await attempt("image", () => new Promise((good, bad) => {
            const image = new Image(); image.onload = good; image.onerror = () => bad(new Error("blocked"));
            image.src = "http://evil.example/x.png";
          }));
          await attempt("handler", () => document.body.setAttribute("onclick", "window.pwned = 1"));
          return tried;
        }"""

        tried = page.evaluate(script)
        context.close()
        assert tried == {"html": "TypeError", "fetch": "TypeError", "image": "Error", "handler": "TypeError"}


def solving(program: str, conclusion: str) -> Callable[[Asked], list[Piece]]:
    """A model that writes a program and, once it has been run, its conclusion."""

    def said(asked: Asked) -> list[Piece]:
        return [Piece(conclusion if program in asked.messages[0]["content"] else program), END]

    return said


class TestMath:
    PROGRAM = "I add them up.\n\n```python\nprint(sum(range(1, 101)))\n```\n"

    def test_the_trace(self, page: Page, model: Played) -> None:
        model.answer = solving(self.PROGRAM, "The sum is $\\boxed{5050}$.")
        page.click("#math")
        ask(page, "What is 1 + 2 + … + 100?")
        done(page)
        parts = page.locator(".parts > *")
        assert "print(sum" in parts.nth(0).inner_text()
        assert parts.nth(1).locator("pre").inner_text() == "5050"
        assert parts.nth(1).locator("figcaption").inner_text() == "The program printed"
        result = page.locator(".result")
        assert result.locator(".katex-html").inner_text() == "5050"
        assert "code agrees" in result.inner_text()
        assert "tokens/s" in page.locator(".stats").inner_text()

    def test_a_program_that_fails(self, page: Page, model: Played) -> None:
        model.answer = solving("```python\n1/0\n```\n", "It cannot be: \\boxed{none}")
        page.click("#math")
        ask(page, "1/0")
        done(page)
        run = page.locator("figure.run.failed").first
        assert "ZeroDivisionError" in run.inner_text()

    def test_it_is_talked_about_afterwards(self, page: Page, model: Played) -> None:
        model.answer = solving(self.PROGRAM, "It is \\boxed{5050}.")
        page.click("#math")
        ask(page, "Sum?")
        done(page)
        page.click("#math")
        model.answer = pieces("Since they pair up.")
        ask(page, "Why?")
        done(page, 2)
        asked = model.seen[-1].messages
        assert [one["role"] for one in asked] == ["user", "assistant", "user"]
        assert "print(sum" in asked[1]["content"]
        assert "```output\n5050\n```" in asked[1]["content"]


class TestPictures:
    def test_boxes_are_drawn_over_what_was_dropped(self, page: Page, model: Played) -> None:
        model.answer = pieces(FOUND)
        drop(page, scene())
        ask(page, "Where are the cups?")
        done(page)
        box = page.locator(".found svg rect")
        playwright.expect(box).to_have_count(2)
        numbers = [
            [float(one.get_attribute(name)) for name in ("x", "y", "width", "height")] for one in box.all()
        ]
        assert numbers == [[120, 260, 160, 240], [480, 220, 160, 240]]
        assert page.locator(".found svg text").all_text_contents() == ["red cup", "blue cup"]
        assert page.locator(".found svg").get_attribute("viewBox") == "0 0 800 600"
        image, over = page.locator(".found img").bounding_box(), page.locator(".found svg").bounding_box()
        assert image == pytest.approx(over, abs=1)
        foot = page.locator(".stats").bounding_box()
        assert foot["y"] + foot["height"] <= page.locator("#composer").bounding_box()["y"]  # it is followed
        (shown,) = [part for part in model.seen[0].messages[0]["content"] if part["type"] == "image"]
        assert shown["image"].size == (800, 608)  # a multiple of 32

    def test_a_model_that_counts_in_pixels_of_what_it_saw(self, page: Page, model: Played) -> None:
        model.capabilities = Capabilities(16_384, vision=True, seeing=Seeing(28, "absolute"))
        model.answer = pieces(
            '[{"bbox_2d": [0, 0, 406, 301], "label": "a"}, {"point_2d": [812, 602], "label": "b"}]'
        )
        drop(page, scene())
        ask(page, "Where?")
        done(page)
        playwright.expect(page.locator(".found svg circle")).to_have_count(1)
        rect = page.locator(".found svg rect")
        assert float(rect.get_attribute("width")) == pytest.approx(400, abs=3)  # seen as 812 x 588
        assert float(rect.get_attribute("height")) == pytest.approx(307, abs=3)

    def test_what_looks_like_places(self, page: Page) -> None:
        """Only such answers are read by the server: most name none."""
        script = """async (texts) => {
          const { namesPlaces } = await import("/page/boxes.js");
          return texts.filter(namesPlaces);
        }"""
        places = [
            '{"bbox_2d": [1, 2, 3, 4]}',
            '{"point_2d": [1, 2]}',
            '{"bbox": [1, 2, 3, 4]}',
            '<points x1="1" y1="2" alt="a">a</points>',
            "<|box_start|>(1,2),(3,4)<|box_end|>",
            "cup(1,2),(3,4)",
            "Here:\n1, 2, 3, 4 cup",
        ]
        others = [
            "Two cups.",
            "It costs 1,200 and 3,400 dollars.",
            "f(1, 2) = 3",
            "1, 2, 3, 4",
            "a box of points",
        ]
        assert page.evaluate(script, [*places, *others]) == places

    def test_a_large_one_is_made_smaller(self, page: Page, model: Played) -> None:
        written = io.BytesIO()
        Image.new("RGB", (4096, 1024), "navy").save(written, "JPEG")
        drop(page, written.getvalue())
        ask(page, "What is it?")
        done(page)
        (shown,) = [part for part in model.seen[0].messages[0]["content"] if part["type"] == "image"]
        assert shown["image"].size == (2048, 512)

    def test_what_is_no_picture_is_told(self, page: Page) -> None:
        page.evaluate(DROP, list(b"no picture at all"))
        playwright.expect(page.locator("#fault")).to_have_text(
            "table.png is no picture that the browser can read"
        )

    def test_one_is_taken_back(self, page: Page, model: Played) -> None:
        drop(page, scene())
        page.click("#attached button")
        ask(page, "hi")
        done(page)
        assert model.seen[0].messages[0]["content"] == "hi"


class TestStopping:
    @pytest.mark.parametrize("how", ["Escape", "button"])
    def test_the_server_stops_too(self, page: Page, model: Played, here: Here, how: str) -> None:
        model.answer = endless
        ask(page, "hi")
        playwright.expect(page.locator(".parts .text")).to_contain_text("on and on and")
        assert here.lanes.running == 1
        if how == "Escape":
            page.keyboard.press("Escape")
        else:
            page.click("#stop")
        done(page)
        until(lambda: here.lanes.running == 0)
        assert "stopped" in page.locator(".stats").inner_text()
        model.answer = pieces("well")
        ask(page, "again")
        done(page, 2)

    def test_a_solution_too(self, page: Page, model: Played, here: Here) -> None:
        model.answer = endless
        page.click("#math")
        ask(page, "hi")
        playwright.expect(page.locator(".parts .text")).to_contain_text("on and")
        page.keyboard.press("Escape")
        done(page)
        until(lambda: here.lanes.running == 0)

    def test_a_new_chat_ends_the_old_one(self, page: Page, model: Played, here: Here) -> None:
        model.answer = endless
        ask(page, "hi")
        playwright.expect(page.locator(".parts .text")).to_contain_text("on and")
        page.click("#new")
        playwright.expect(page.locator(".turn")).to_have_count(0)
        until(lambda: here.lanes.running == 0)
        page.reload()
        assert page.locator(".turn").count() == 0


class TestReload:
    def test_the_conversation_returns(self, page: Page, model: Played) -> None:
        model.answer = pieces(FOUND, thought="I look.")
        page.fill("#text", "")
        page.click("#settings summary")
        page.fill("#system", "Be short.")
        page.press("#system", "Tab")
        drop(page, scene())
        ask(page, "Where are the cups?")
        playwright.expect(page.locator(".found svg rect")).to_have_count(2)
        before = page.locator("#turns").inner_text()
        page.reload()
        playwright.expect(page.locator(".found svg rect")).to_have_count(2)
        playwright.expect(page.locator(".pictures img")).to_have_js_property("naturalWidth", 800)
        assert page.locator("#turns").inner_text() == before
        assert page.input_value("#system") == "Be short."
        ask(page, "And the spoon?")
        done(page, 2)
        asked = model.seen[-1].messages
        assert [one["role"] for one in asked] == ["system", "user", "assistant", "user"]
        assert [part["type"] for part in asked[1]["content"]] == ["image", "text"]

    def test_what_is_being_written_returns(self, page: Page, model: Played) -> None:
        drop(page, scene())
        page.type("#text", "Where are")
        page.reload()
        assert page.input_value("#text") == "Where are"
        playwright.expect(page.locator("#attached img")).to_have_js_property("naturalWidth", 800)
        page.press("#text", "Enter")
        done(page)
        page.reload()
        assert page.input_value("#text") == ""
        assert page.locator("#attached img").count() == 0

    def test_in_the_middle_of_an_answer(self, page: Page, model: Played, here: Here) -> None:
        model.answer = endless
        ask(page, "hi")
        playwright.expect(page.locator(".parts .text")).to_contain_text("on and on and")
        page.reload()
        playwright.expect(page.locator(".parts .text")).to_contain_text("on and on and")
        assert "stopped" in page.locator(".stats").inner_text()
        until(lambda: here.lanes.running == 0)
        model.answer = pieces("whole")
        page.click("text=Retry")
        playwright.expect(page.locator(".parts .text")).to_have_text("whole")


class TestForm:
    def test_keys(self, page: Page, model: Played) -> None:
        page.fill("#text", "one")
        page.press("#text", "Shift+Enter")
        page.keyboard.type("two")
        page.keyboard.press("Enter")
        done(page)
        assert model.seen[0].messages[-1]["content"] == "one\ntwo"
        assert page.input_value("#text") == ""
        page.keyboard.press("Enter")  # nothing to send
        assert page.locator(".turn").count() == 2

    def test_what_is_set_is_asked_for(self, page: Page, model: Played) -> None:
        page.select_option("#thinking", "none")
        page.click("#settings summary")
        page.fill("#system", "Be short.")
        page.fill("#temperature", "0.5")
        page.fill("#max_tokens", "7")
        page.click("#settings summary")
        ask(page, "hi")
        done(page)
        asked = model.seen[0]
        assert asked.messages[0] == {"role": "system", "content": "Be short."}
        assert (asked.sampling.temperature, asked.sampling.max_tokens, asked.thinking) == (0.5, 7, False)

    def test_panels_close(self, page: Page) -> None:
        for close in (lambda: page.keyboard.press("Escape"), lambda: page.click("#turns", force=True)):
            page.click("#settings summary")
            assert page.locator("#system").is_visible()
            close()
            assert not page.locator("#system").is_visible()

    def test_nothing_is_where_nothing_is_set(self, page: Page, model: Played) -> None:
        ask(page, "hi")
        done(page)
        asked = model.seen[0]
        assert [one["role"] for one in asked.messages] == ["user"]
        assert (asked.sampling.temperature, asked.sampling.max_tokens, asked.thinking) == (None, None, None)

    def test_an_earlier_message_is_edited(self, page: Page, model: Played) -> None:
        for text in ("first", "second"):
            ask(page, text)
            done(page, len(model.seen))
        page.locator(".turn.user button").first.click()
        assert page.input_value("#text") == "first"
        page.keyboard.press("Escape")
        assert page.locator(".turn").count() == 4
        page.locator(".turn.user button").first.click()
        page.fill("#text", "other")
        page.press("#text", "Enter")
        done(page, 1)
        assert [one["content"] for one in model.seen[-1].messages] == ["other"]

    def test_an_answer_is_tried_again(self, page: Page, model: Played) -> None:
        ask(page, "hi")
        done(page)
        model.answer = pieces("no")
        page.click("text=Retry")
        playwright.expect(page.locator(".parts .text")).to_have_text("no")
        assert [len(one.messages) for one in model.seen] == [1, 1]

    def test_what_is_wrong_is_told_in_a_line(self, page: Page, model: Played) -> None:
        def full(asked: Asked) -> Iterator[Piece]:
            raise ContextFull(9000, 4096)
            yield END

        model.answer = full
        ask(page, "hi")
        done(page)
        assert "4,096" in page.locator(".turn .fault").inner_text()
        model.answer = pieces("yes")
        page.click("text=Retry")
        playwright.expect(page.locator(".parts .text")).to_have_text("yes")
        assert page.locator(".turn .fault").count() == 0

    def test_a_fault_in_the_middle_keeps_what_there_is(self, page: Page, model: Played) -> None:
        def breaking(asked: Asked) -> Iterator[Piece]:
            yield Piece("So far")
            time.sleep(0.3)
            raise ContextFull(9000, 4096)

        model.answer = breaking
        ask(page, "hi")
        done(page)
        assert page.locator(".parts .text").inner_text() == "So far"
        assert "4,096" in page.locator(".turn .fault").inner_text()

    def test_the_models_that_run(self, page: Page, model: Played) -> None:
        page.click("#running summary")
        playwright.expect(page.locator("#models li")).to_have_text(
            re.compile("qwen3-vl:8b.*16,384 tokens, 0 running, 0 waiting")
        )

    def test_everything_has_a_name(self, page: Page) -> None:
        page.click("#settings summary")
        unnamed = page.evaluate("""() =>
          [...document.querySelectorAll("button, input:not([hidden]), select, textarea, summary")]
            .filter((one) => !one.labels?.length && !one.ariaLabel && !one.textContent.trim())
            .map((one) => one.id)""")
        assert unnamed == []

    def test_a_small_screen(self, page: Page, model: Played) -> None:
        wide = " + ".join(f"x_{{{one}}}" for one in range(60))
        model.answer = pieces(
            f"$${wide}$$\n\n| {'a | ' * 30}\n|{'---|' * 30}\n\n`{'x' * 300}`\n\n```\n{'y' * 300}\n```"
        )
        page.set_viewport_size({"width": 360, "height": 640})
        ask(page, "hi" * 100)
        done(page)
        assert page.evaluate("document.scrollingElement.scrollWidth") <= 360
        for panel in ("#running", "#settings"):
            page.click(f"{panel} summary")
            box = page.locator(f"{panel} .panel").bounding_box()
            assert box["x"] >= 0 and box["x"] + box["width"] <= 360
            assert box["y"] >= 0 and box["y"] + box["height"] <= 640

    def test_as_dark_as_the_system(self, page: Page) -> None:
        light = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.emulate_media(color_scheme="dark")
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (light, dark) == ("rgb(255, 255, 255)", "rgb(23, 23, 28)")


@pytest.mark.skipif("QWEN_WRITE_PICTURES" not in os.environ, reason="for docs/pictures")
class TestForDocs:
    def test_pictures(self, page: Page, model: Played) -> None:
        page.set_viewport_size({"width": 860, "height": 760})
        model.answer = solving(
            "The sum of the first $n$ cubes is $\\left(\\frac{n(n+1)}{2}\\right)^2$. Let me check it for "
            "$n = 10$.\n\n```python\nprint(sum(k**3 for k in range(1, 11)))\n```\n",
            "The program agrees with the formula:\n\n"
            "$$\\sum_{k=1}^{10} k^3 = \\left(\\frac{10 \\cdot 11}{2}\\right)^2 = \\boxed{3025}$$",
        )
        page.click("#math")
        ask(page, "What is the sum of the first ten cubes?")
        done(page)
        page.screenshot(path=PICTURES / "page-math.png")
        page.click("#new")
        page.click("#math")
        model.answer = pieces("Two cups stand on the table.\n\n" + FOUND, thought="I look for cups.")
        drop(page, scene())
        ask(page, "Locate the cups, output bbox coordinates in JSON format.")
        playwright.expect(page.locator(".found svg rect")).to_have_count(2)
        page.wait_for_timeout(300)
        page.screenshot(path=PICTURES / "page-boxes.png")
