"""File names for the languages that editors name, where a document has no file name that tells its own."""

from __future__ import annotations

from pathlib import PurePosixPath

# Identifiers of the LSP specification (`TextDocumentItem.languageId`), and after them those that VS Code's
# common extensions, Vim and Emacs use beside.
# fmt: off
_ENDINGS = {
    "bat": ".bat", "bibtex": ".bib", "clojure": ".clj", "coffeescript": ".coffee", "c": ".c", "cpp": ".cpp",
    "csharp": ".cs", "css": ".css", "d": ".d", "pascal": ".pas", "diff": ".diff", "dart": ".dart",
    "elixir": ".ex", "erlang": ".erl", "fsharp": ".fs", "go": ".go",
    "groovy": ".groovy", "handlebars": ".hbs", "haskell": ".hs", "html": ".html", "ini": ".ini",
    "java": ".java", "javascript": ".js", "javascriptreact": ".jsx", "json": ".json", "latex": ".tex",
    "less": ".less", "lua": ".lua", "markdown": ".md", "objective-c": ".m",
    "objective-cpp": ".mm", "perl": ".pl", "php": ".php", "plaintext": ".txt", "powershell": ".ps1",
    "jade": ".jade", "pug": ".pug", "python": ".py", "r": ".r", "razor": ".cshtml", "ruby": ".rb",
    "rust": ".rs", "scss": ".scss", "sass": ".sass", "scala": ".scala", "shellscript": ".sh", "sql": ".sql",
    "swift": ".swift", "typescript": ".ts", "typescriptreact": ".tsx", "tex": ".tex", "vb": ".vb",
    "xml": ".xml", "xsl": ".xsl", "yaml": ".yaml",
    # beside the specification
    "bash": ".sh", "cmake": ".cmake", "cs": ".cs", "cuda": ".cu", "cuda-cpp": ".cu", "elisp": ".el",
    "emacs-lisp": ".el", "gomod": ".mod", "graphql": ".graphql", "javascript.jsx": ".jsx", "jsonc": ".json",
    "julia": ".jl", "kotlin": ".kt", "nim": ".nim", "nix": ".nix", "objc": ".m",
    "objcpp": ".mm", "ocaml": ".ml", "proto": ".proto", "proto3": ".proto", "ps1": ".ps1", "sh": ".sh",
    "svelte": ".svelte", "systemverilog": ".sv", "terraform": ".tf", "toml": ".toml", "tsx": ".tsx",
    "typescript.tsx": ".tsx", "verilog": ".v", "vhdl": ".vhd", "viml": ".vim", "vim": ".vim", "vue": ".vue",
    "zig": ".zig", "zsh": ".zsh",
}
# fmt: on
_WHOLE_NAMES = {"dockerfile": "Dockerfile", "makefile": "Makefile", "make": "Makefile"}


def named(path: str, language: str) -> str:
    """Return `path` with the ending of the editor's `language`, where it has none of its own.

    An empty path, as of a document that was never saved, becomes `main` with the ending. An unknown language
    changes nothing.
    """
    language = language.lower()
    if not path and language in _WHOLE_NAMES:
        return _WHOLE_NAMES[language]
    ending = _ENDINGS.get(language, "")
    if not ending or PurePosixPath(path).suffix:
        return path
    return f"{path or 'main'}{ending}"
