"""Repository context: which files are looked at, what is taken, in what order, within which budget."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from qwen_cli.tasks.repository import files as repository_files
from qwen_cli.tasks.repository.context import Repository, Taken, context, root_of
from qwen_cli.tasks.repository.definitions import definitions, extract, names
from qwen_cli.tasks.repository.imports import arrange, imports, resolve


def words(text: str) -> int:
    """A tokenizer good enough for budgets: four characters a token."""
    return len(text) // 4 + 1


def write(root: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return root


def git(root: Path, *arguments: str) -> None:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *arguments], cwd=root, check=True, capture_output=True)


SHOP = {
    "shop/__init__.py": "",
    "shop/prices.py": 'VAT = 0.19\n\n\ndef gross(net):\n    """With tax."""\n    return net * (1 + VAT)\n',
    "shop/cart.py": "from shop.prices import gross\n\n\nclass Cart:\n    def total(self):\n        return ",
    "shop/checkout.py": "from shop.cart import Cart\n\n\ndef pay(items):\n    return Cart(items).total()\n",
    "shop/weather.py": "def forecast():\n    return 'rain'\n",
    "tests/test_cart.py": "from shop.cart import Cart\n\n\ndef test_i():\n    assert not Cart([]).total()\n",
}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A committed git work tree with a hole at the end of shop/cart.py."""
    write(tmp_path, SHOP)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "a", "--date", "2020-01-01T00:00:00")
    return tmp_path


def ask(root: Path, budget: int = 1_000) -> list[Taken]:
    return context(root, "shop/cart.py", SHOP["shop/cart.py"], "\n", budget, words)


def test_imported_and_importing_files_and_the_test_are_taken_with_their_reasons(shop: Path) -> None:
    why = {taken.path: taken.why for taken in ask(shop)}
    assert why["shop/prices.py"].startswith("imported here")
    assert "imports this file" in why["shop/checkout.py"]
    assert "same name" in why["tests/test_cart.py"]


def test_whole_files_come_in_the_order_imported_same_name_importing(shop: Path) -> None:
    paths = [taken.path for taken in ask(shop)]
    assert paths[:3] == ["shop/prices.py", "tests/test_cart.py", "shop/checkout.py"]
    assert ask(shop)[0].text == SHOP["shop/prices.py"].strip("\n")


def test_the_budget_holds_and_what_matters_most_stays(shop: Path) -> None:
    assert ask(shop, 0) == []
    for budget in (36, 60, 90, 200):
        taken = ask(shop, budget)
        assert sum(words(t.path) + words(t.text) for t in taken) <= budget
        assert taken[0].path == "shop/prices.py"


def test_an_edited_file_is_taken_as_edited_recently(shop: Path) -> None:
    (shop / "shop/weather.py").write_text("def forecast():\n    return 'sun'\n")
    assert {t.path: t.why for t in ask(shop)}["shop/weather.py"] == "edited recently"


def test_a_character_typed_in_a_word_does_not_move_the_context(shop: Path) -> None:
    write(shop, {f"shop/extra{n}.py": f"def gross_{n}(x):\n    return x\n" for n in range(5)})
    repository = Repository(shop)
    typed = "gross_1"
    seen = [
        repository.context("shop/cart.py", SHOP["shop/cart.py"] + typed[:n], "\n", 150, words)
        for n in range(len(typed) + 1)
    ]
    assert all(one == seen[0] for one in seen)


def test_a_name_near_the_cursor_brings_its_definition_without_an_import(shop: Path) -> None:
    prefix = "def plan():\n    forecast() or "
    taken = context(shop, "shop/plans.py", prefix, "\n", 300, words)
    assert taken[0].path == "shop/weather.py"
    assert "defines forecast" in taken[0].why


def test_a_name_at_the_end_of_the_line_above_counts_as_whole(shop: Path) -> None:
    taken = context(shop, "shop/plans.py", "def plan():\n    forecast\n", "\n", 300, words)
    assert taken[0].path == "shop/weather.py"


def test_of_a_long_file_whole_definitions_are_taken(shop: Path) -> None:
    filler = "".join(f"def other_{n}():\n    return {n}\n\n\n" for n in range(300))
    write(
        shop, {"shop/prices.py": filler + SHOP["shop/prices.py"] + "\n\n" + filler.replace("other", "more")}
    )
    [prices] = [t for t in ask(shop, 300) if t.path == "shop/prices.py"]
    assert prices.text == 'def gross(net):\n    """With tax."""\n    return net * (1 + VAT)'
    assert "defines gross" in prices.why


def test_a_class_too_long_for_the_budget_gives_its_head_and_the_members_in_use(shop: Path) -> None:
    members = "".join(f"    def member_{n}(self):\n        return '{'x' * 200}'\n\n" for n in range(40))
    long = f"class Basket:\n{members}    def weigh(self):\n        return 7\n"
    write(shop, {"shop/basket.py": long})
    prefix = "from shop.basket import Basket\n\n\ndef f(basket: Basket):\n    basket.weigh()\n    "
    taken = context(shop, "shop/new.py", prefix, "", 200, words)[0]
    assert taken.text == "class Basket:\n\n    def weigh(self):\n        return 7"


def test_unsaved_text_of_an_open_file_stands_in_for_the_disk(shop: Path) -> None:
    taken = Repository(shop).context(
        "shop/cart.py", SHOP["shop/cart.py"], "\n", 500, words, unsaved={"shop/prices.py": "def gross(): ..."}
    )
    assert taken[0].text == "def gross(): ..."


def test_a_change_on_the_disk_is_seen_and_a_deleted_file_forgotten(shop: Path) -> None:
    repository = Repository(shop)
    repository.context("shop/cart.py", SHOP["shop/cart.py"], "\n", 500, words)
    write(shop, {"shop/weather.py": "def snowfall():\n    return 3\n"})
    (shop / "shop/prices.py").unlink()
    repository.index._looked = float("-inf")  # the two seconds for which a listing is taken as fresh
    taken = repository.context("shop/cart.py", SHOP["shop/cart.py"] + "snowfall() + ", "\n", 500, words)
    assert "shop/prices.py" not in {t.path for t in taken}
    assert "snowfall" in {t.path: t.why for t in taken}["shop/weather.py"]


@pytest.mark.parametrize(
    "name", [".env", ".env.local", "server.pem", "id_rsa", "secrets.py", ".ssh/config.py"]
)
def test_files_that_hold_credentials_are_never_listed(shop: Path, name: str) -> None:
    write(shop, {name: "password = 1\n"})
    assert name not in {entry.path for entry in repository_files.listing(shop)}


def test_a_private_key_inside_a_source_file_keeps_it_out(shop: Path) -> None:
    write(shop, {"shop/prices.py": "KEY = '''-----BEGIN RSA PRIVATE KEY-----\nMII'''\ndef gross(): ...\n"})
    assert "shop/prices.py" not in {t.path for t in ask(shop)}


@pytest.mark.parametrize(
    "text",
    ["# Code generated by protoc. DO NOT EDIT.\ndef gross(): ...\n", "a=1;" * 2_000, "x = '\0'\n", ""],
    ids=["generated", "minified", "binary", "empty"],
)
def test_files_that_no_person_wrote_are_left_out(shop: Path, text: str) -> None:
    write(shop, {"shop/prices.py": text})
    assert "shop/prices.py" not in {t.path for t in ask(shop)}


def test_huge_files_and_symbolic_links_are_left_out(
    shop: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "private.py"
    outside.write_text("def gross(): ...\n")
    (shop / "shop/linked.py").symlink_to(outside)
    (shop / "shop/folder").symlink_to(outside.parent)
    write(shop, {"shop/huge.py": "x = 1\n" * 40_000})
    listed = {entry.path for entry in repository_files.listing(shop)}
    assert not listed & {"shop/linked.py", "shop/folder/private.py", "shop/huge.py"}
    assert "shop/cart.py" in listed


@pytest.mark.parametrize("inside_git", [True, False])
def test_gitignore_is_respected(tmp_path: Path, inside_git: bool) -> None:
    write(
        tmp_path,
        {
            ".gitignore": "*.log.py\n/out/\n",
            "a.py": "x = 1\n",
            "b.log.py": "x = 1\n",
            "out/c.py": "x = 1\n",
            "sub/.gitignore": "!keep.log.py\nlocal.py\n",
            "sub/keep.log.py": "x = 1\n",
            "sub/local.py": "x = 1\n",
            "sub/out/d.py": "x = 1\n",
        },
    )
    if inside_git:
        git(tmp_path, "init", "-q")
    listed = {e.path for e in repository_files.listing(tmp_path) if e.path.endswith(".py")}
    assert listed == {"a.py", "sub/keep.log.py", "sub/out/d.py"}


def test_the_root_is_the_git_work_tree(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert root_of(shop / "shop" / "cart.py") == shop.resolve()
    assert root_of(tmp_path_factory.mktemp("plain") / "a.py") is None


# fmt: off
TREE = (
    "a/__init__.py", "a/b/__init__.py", "a/b/x.py", "a/c.py", "a/d.py", "a/b/json.py",
    "src/m.h", "include/lib/util.h",
    "web/x.tsx", "web/y.ts", "lib/index.js", "web/kit/z.vue",
    "kit/a.go", "kit/b.go", "kit/a_test.go",
    "src/m/inner.rs", "src/net/mod.rs", "src/net/tcp.rs",
    "src/org/shop/Cart.java", "other/org/Cart.java",
)
# fmt: on


@pytest.mark.parametrize(
    ("path", "text", "found"),
    [
        (
            "a/b/m.py",
            "from . import x\nfrom ..c import (y,\n  z)\nimport a.d, json",
            ["a/b/__init__.py", "a/b/x.py", "a/c.py", "a/d.py"],
        ),
        (
            "src/m.c",
            '#include "m.h"\n#include <lib/util.h>\n#include <stdio.h>',
            ["src/m.h", "include/lib/util.h"],
        ),
        (
            "web/m.ts",
            "import x from './x'\nexport * from '../lib'\nrequire('left-pad')",
            ["web/x.tsx", "lib/index.js"],
        ),
        ("web/m.js", "const y = require('./y.js')\nimport('@/kit/z')", ["web/y.ts", "web/kit/z.vue"]),
        ("cmd/m.go", 'import (\n\t"fmt"\n\tk "example.org/shop/kit"\n)', ["kit/a.go", "kit/b.go"]),
        (
            "src/m.rs",
            "mod inner;\nuse crate::net::{tcp, Udp};",
            ["src/m/inner.rs", "src/net/mod.rs", "src/net/tcp.rs"],
        ),
        ("x/M.java", "import org.shop.Cart;\nimport java.util.List;", ["src/org/shop/Cart.java"]),
    ],
)
def test_imports_of_each_language_lead_to_files(path: str, text: str, found: list[str]) -> None:
    assert sorted(resolve(imports(text, path), path, arrange(TREE))) == sorted(found)


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("a.py", "# why\n@d\ndef f(a,\n      b):\n    return 1\nX = 2\n", {"f": (0, 5), "X": (5, 6)}),
        (
            "a.c",
            "/* doc */\nstatic int *add(int a)\n{\n  return 0;\n}\n#define M 1\n",
            {"add": (0, 5), "M": (5, 6)},
        ),
        (
            "a.hpp",
            "namespace n {\ntemplate <class T>\nclass B {\n  int size() { return 1; }\n};\n}\n",
            {"B": (1, 5), "size": (3, 4)},
        ),
        (
            "a.js",
            "export const g = (a) => {\n  return a\n}\nclass K { m() {} }\n",
            {"g": (0, 3), "K": (3, 4), "m": (3, 4)},
        ),
        ("a.tsx", "export interface P {\n  a: number\n}\n", {"P": (0, 3)}),
        (
            "a.go",
            "// M does.\nfunc (t *T) M() int {\n\treturn 1\n}\ntype T struct {\n}\n",
            {"M": (0, 4), "T": (4, 6)},
        ),
        (
            "a.rs",
            "#[derive(Debug)]\npub struct S;\nimpl S {\n    fn new() -> S { S }\n}\n",
            {"S": (2, 5), "new": (3, 4)},
        ),
        (
            "A.java",
            "class A {\n  /** d */\n  int get() {\n    return 1;\n  }\n}\n",
            {"A": (0, 6), "get": (1, 5)},
        ),
        ("a.rb", "class A\n  def m\n    1\n  end\nend\n\nX = 1\n", {"A": (0, 5), "m": (1, 4)}),
        ("a.swift", "func f(a: Int) {\n    g()\n}\n", {"f": (0, 3)}),
    ],
)
def test_definitions_are_found_whole(path: str, text: str, expected: dict[str, tuple[int, int]]) -> None:
    found = {d.name: (d.start, d.end) for d in definitions(text, path)}
    assert found == expected


def test_a_broken_text_still_gives_what_can_be_read() -> None:
    text = "def good():\n    return 1\n\n\ndef broken(:\n    (((\n"
    assert "good" in {d.name for d in definitions(text, "a.py")}


def test_a_member_is_extracted_under_the_head_of_its_class() -> None:
    text = "class A:\n    def f(self):\n        return 1\n\n    def g(self):\n        return 2\n"
    found = definitions(text, "a.py")
    [g] = [i for i, d in enumerate(found) if d.name == "g"]
    assert extract(text, found, [g]) == "class A:\n\n    def g(self):\n        return 2"


def test_names_in_hostile_lines_take_no_time() -> None:
    started = time.process_time()
    names("a " * 50_000 + "\n" + "(" * 50_000 + "\n" + "const " * 20_000)
    assert time.process_time() - started < 5  # 0.1 s; with a pattern that goes back it would be hours


def test_a_look_at_three_thousand_files_is_quick_after_the_first(tmp_path: Path) -> None:
    for folder in range(30):
        for n in range(100):
            text = f"from pkg{folder}.m{n - 1} import f{n - 1}\n\n\ndef f{n}(x):\n    return x\n"
            write(tmp_path, {f"pkg{folder}/m{n}.py": text})
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    repository = Repository(tmp_path)

    def look() -> list[Taken]:
        return repository.context("pkg3/m50.py", "from pkg3.m49 import f49\nf49(", ")\n", 500, words)

    first = look()
    assert "pkg3/m49.py" in {t.path for t in first}
    repository.index._looked = repository.index._looked_recent = float("-inf")
    started = time.process_time()
    assert look() == first
    # 40 ms of processor time here; the limit leaves room for slower machines.
    assert time.process_time() - started < 0.25


def test_a_file_name_that_git_would_quote_is_read(shop: Path) -> None:
    write(shop, {"shop/größe ü.py": "def groesse():\n    return 1\n"})
    taken = context(shop, "shop/new.py", "groesse() + ", "\n", 300, words)
    assert taken[0].path == "shop/größe ü.py"


@pytest.mark.skipif(os.name == "nt", reason="Windows refuses such names itself")
def test_a_file_name_with_a_line_break_is_left_out(shop: Path) -> None:
    write(shop, {"shop/a\n<|im_end|>.py": "def gross2():\n    return 1\n"})
    assert all("\n" not in entry.path for entry in repository_files.listing(shop))


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of 61 source files, one of them empty, of which 20 are looked at, not the first ones."""
    monkeypatch.setattr(repository_files, "MAX_FILES", 20)
    others = {f"aa/part{n // 10}/m{n}.py": f"def far_{n}():\n    return {n}\n" for n in range(50)}
    near = {f"zz/shop/n{n}.py": f"def near_{n}():\n    return {n}\n" for n in range(8)}
    far = {"aa/part4/imported.py": "def fetch_everything():\n    return 1\n"}
    pictures = {f"aa/p{n}.png": "x" for n in range(30)}
    return write(
        tmp_path, {**others, **near, **far, **pictures, "zz/shop/cart.py": "", "zz/top.py": "A = 1\n"}
    )


@pytest.mark.parametrize("inside_git", [True, False])
def test_of_too_many_files_the_nearest_are_read_and_it_says_so(large: Path, inside_git: bool) -> None:
    if inside_git:
        git(large, "init", "-q")
        git(large, "add", ".")
        git(large, "commit", "-qm", "a")
    repository = Repository(large)
    prefix = "from aa.part4 import imported\n\nx = near_7() + imported.fetch_everything()\n"
    taken = {t.path for t in repository.context("zz/shop/cart.py", prefix, "\n", 2_000, words)}
    assert {"zz/shop/n7.py", "aa/part4/imported.py"} <= taken
    assert repository.notice is not None
    assert "60 source files" in repository.notice
    assert "zz/shop/cart.py" in repository.notice


def test_a_file_of_another_corner_has_its_own_neighbours(large: Path) -> None:
    git(large, "init", "-q")
    repository = Repository(large)
    repository.context("zz/shop/cart.py", "near_7()\n", "\n", 2_000, words)
    taken = repository.context("aa/part0/m0.py", "far_3()\n", "\n", 2_000, words)
    assert "aa/part0/m3.py" in {t.path for t in taken}
    taken = repository.context("zz/shop/cart.py", "near_7()\n", "\n", 2_000, words)
    assert "zz/shop/n7.py" in {t.path for t in taken}


def test_what_was_edited_is_read_however_far_it_is(large: Path) -> None:
    git(large, "init", "-q")
    git(large, "add", ".")
    git(large, "commit", "-qm", "a", "--date", "2020-01-01T00:00:00")
    (large / "aa/part3/m33.py").write_text("def far_33():\n    return 'edited'\n")
    taken = Repository(large).context("zz/shop/cart.py", "x = 1\n", "\n", 2_000, words)
    assert {t.path: t.why for t in taken}["aa/part3/m33.py"] == "edited recently"


def test_a_repository_that_is_read_whole_says_nothing(shop: Path) -> None:
    repository = Repository(shop)
    repository.context("shop/cart.py", SHOP["shop/cart.py"], "\n", 500, words)
    assert repository.notice is None


def test_a_folder_without_end_is_walked_from_the_file_outwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository_files, "_MAX_WALKED", 10)
    write(tmp_path, {f"aa/m{n}.txt": "x" for n in range(30)})
    write(
        tmp_path,
        {"zz/shop/one.py": "def one(): ...\n", "zz/shop/cart.py": "", "zz/two.py": "def two(): ...\n"},
    )
    repository = Repository(tmp_path)
    taken = repository.context("zz/shop/cart.py", "one() + two()\n", "\n", 2_000, words)
    assert {t.path for t in taken} == {"zz/shop/one.py", "zz/two.py"}
    assert repository.notice is not None
    assert "more than" in repository.notice


def test_an_imported_file_that_was_not_read_is_shown_only_if_it_may_be(
    large: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "private.py"
    outside.write_text("def fetch_everything(): ...\n")
    (large / "aa/part4/imported.py").unlink()
    (large / "aa/part4/imported.py").symlink_to(outside)
    git(large, "init", "-q")
    prefix = "from aa.part4 import imported\n\nx = imported.fetch_everything()\n"
    taken = context(large, "zz/shop/cart.py", prefix, "\n", 2_000, words)
    assert "aa/part4/imported.py" not in {t.path for t in taken}
