"""What goes with a question beside its words."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pypdfium2
import pytest
from PIL import Image

from qwen_cli.errors import UsageError
from qwen_cli.tasks.chat import attachments, gathering
from qwen_cli.tasks.chat.gathering import Gathered

KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA0123456789abcdef\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())


def gather(*words: str, allow: bool = False) -> Gathered:
    return gathering.gather(words, allow=lambda label: allow)


def names(found: Gathered) -> list[str]:
    return [name for name, _ in found.texts]


def pdf(name: str, *texts: str) -> None:
    document = pypdfium2.PdfDocument.new()
    for text in texts:
        page = document.new_page(200, 200)
        if text:
            font = pypdfium2.raw.FPDFText_LoadStandardFont(document.raw, b"Helvetica")
            letters = pypdfium2.raw.FPDFPageObj_CreateTextObj(document.raw, font, 12.0)
            wide = (text + "\0").encode("utf-16-le")
            pypdfium2.raw.FPDFText_SetText(
                letters, (pypdfium2.raw.FPDF_WCHAR * (len(wide) // 2)).from_buffer_copy(wide)
            )
            pypdfium2.raw.FPDFPage_InsertObject(page.raw, letters)
            page.gen_content()
    document.save(name)


def test_a_folder_is_its_text_without_what_git_ignores_secrets_and_the_like() -> None:
    write(
        {
            "src/a.py": "a = 1\n",
            "src/sub/b.md": "b\n",
            "src/empty.py": "",
            "src/.gitignore": "*.log\nout/\n",
            "src/x.log": "noise\n",
            "src/out/y.py": "y\n",
            "src/.env": "TOKEN=1\n",
            "src/data.bin": b"\0\1\2",
            "src/package-lock.json": "{}\n",
        }
    )

    found = gather("src/")

    assert names(found) == ["src/.gitignore", "src/a.py", "src/sub/b.md"]
    assert found.labels == ("src/ (3 files)",)
    assert found.left_out == ("src/.env (may hold secrets)", "1 generated in src/", "1 binary in src/")


def test_a_folder_in_a_repository_is_what_git_says() -> None:
    write({"a.py": "a\n", "sub/b.py": "b\n", "sub/c.py": "c\n", ".gitignore": "c.py\n"})
    subprocess.run(["git", "init", "-q"], check=True)

    assert names(gather("sub")) == ["sub/b.py"]
    assert names(gather(".")) == [".gitignore", "a.py", "sub/b.py"]
    assert names(gather("sub/c.py")) == ["sub/c.py"], "what is named is meant"


def test_a_pattern_leaves_out_what_git_ignores_and_takes_it_where_that_is_all() -> None:
    write({"a.py": "a\n", "b.py": "b\n", "x.log": "x\n", ".gitignore": "b.py\n*.log\n"})
    subprocess.run(["git", "init", "-q"], check=True)

    found = gather("*.py")
    assert names(found) == ["a.py"]
    assert found.left_out == ("1 that git ignores",)
    assert names(gather("*.log")) == ["x.log"]


def test_a_pattern_leaves_out_what_is_no_text_by_name() -> None:
    write({"a.txt": "a\n", "b.bin": b"\0\1", "c.env": "x\n", "d.txt": KEY, "e.txt": b"caf\xe9"})

    found = gather("*")

    assert names(found) == ["a.txt"]
    assert [left.partition(" ")[0] for left in found.left_out] == ["b.bin", "c.env", "d.txt", "e.txt"]
    assert found.left_out[0] == "b.bin (is a binary file, not text)"


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("", "the name of a file is empty"),
        (" ", "the name of a file is empty"),
        ("missing.txt", "no file 'missing.txt'"),
        ("*.zig", "no file matches '*.zig'"),
        ("b.*", "nothing that 'b.*' matches can be sent: b.bin (is a binary file, not text)"),
        ("fold*", "only folders match 'fold*'"),
        ("b.bin", "b.bin is a binary file, not text"),
        ("folder", "the folder 'folder' holds no text to send (1 binary in folder)"),
        ("film.mp4", "film.mp4 is a video. `qwen vision film.mp4` looks at it"),
        ("a.txt#2", "no file 'a.txt#2'"),
        ("https://example.com/a.txt", "is an address, not a file. Save it first"),
        ("/dev/null/x", "cannot be read"),
    ],
)
def test_what_cannot_be_sent_is_named(word: str, told: str) -> None:
    write({"a.txt": "a\n", "b.bin": b"\0\1", "folder/x.bin": b"\0", "film.mp4": b"\0\0\0\x18ftypmp42"})
    with pytest.raises(UsageError) as raised:
        gather(word)
    assert told in str(raised.value)


def test_more_than_any_context_is_refused_with_the_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    write({"src/a.txt": "x" * 300, "src/b.txt": "y" * 300})
    monkeypatch.setattr(attachments, "LARGEST", 500)
    with pytest.raises(UsageError, match="'src' holds 2 files of 600 bytes together"):
        gather("src")
    with pytest.raises(UsageError, match="600 characters together"):
        gather("src/a.txt", "src/b.txt")


def test_secrets_are_sent_only_where_somebody_says_so() -> None:
    write({".env": "TOKEN=1\n", "notes.txt": KEY, "sub/id_rsa": "x\n"})
    Path("innocent.txt").symlink_to("sub/id_rsa")
    for word in (".env", "notes.txt", "innocent.txt", "sub/id_rsa"):
        assert gather(word).texts == ()
        assert gather(word).left_out[0].startswith(word)
        assert names(gather(word, allow=True)) == [word]


def test_a_pdf_is_its_text_and_a_scan_is_for_eyes() -> None:
    pdf("a.pdf", "first words", "", "third words")
    pdf("scan.pdf", "", "")

    found = gather("a.pdf")
    assert found.texts == (("a.pdf", "[page 1]\nfirst words\n\n[page 3]\nthird words"),)
    assert found.labels == ("a.pdf (2 pages)",)
    assert found.left_out == ("page 2 of a.pdf (no text)",)
    assert gather("a.pdf#3").texts == (("a.pdf", "[page 3]\nthird words"),)
    assert gather("scan.pdf#1").pictures == ("scan.pdf#1",)
    with pytest.raises(UsageError, match=r"a\.pdf has 3 pages, there is no page 9"):
        gather("a.pdf#9")


def test_what_reads_as_text_is_text_whatever_it_begins_with() -> None:
    write({"a.txt": "P1 is a priority\n", "b.mts": "export {}\n", "c.md": "%PDF-1.4 begins a PDF\n"})
    assert names(gather("a.txt", "b.mts", "c.md")) == ["a.txt", "b.mts", "c.md"]
    Image.new("RGB", (8, 8)).save("p.png")
    assert gather("p.png").pictures == ("p.png",)
    Image.new("RGB", (8, 8)).save("q.dat", "PNG")
    assert gather("q.dat").pictures == ("q.dat",)


def test_a_file_address_is_the_file_and_what_is_named_twice_goes_once(folder: Path) -> None:
    write({"my file.txt": "x\n"})
    assert gather(f"file://{folder}/my%20file.txt").texts == ((f"{folder}/my file.txt", "x\n"),)
    assert names(gather("my file.txt", "*.txt")) == ["my file.txt"]
