"""The source of an answer without what stands round it, in the characters of LaTeX.

Runs in the sandbox (see `answer.Judge`).
"""

from __future__ import annotations

import re
import unicodedata

_WRAPPERS = (
    ("$$", "$$"),
    ("$", "$"),
    ("\\(", "\\)"),
    ("\\[", "\\]"),
    ("**", "**"),
    ("*", "*"),
    ("`", "`"),
    ('"', '"'),
)
LEAD = re.compile(
    r"(?:(?:so|thus|therefore|hence),?\s+)?(?:the\s+)?(?:final\s+)?ans(?:wer)?\s*(?:is|:)\s*:?\s*"
    r"|(?:so\s+|thus\s+)?(?:the\s+)?(?:only\s+)?(?:solutions?|roots?|zeros|(?:eigen)?values?|results?|answers?)(?:\s+set)?"
    r"(?:\s+(?:of|for)\s+[a-z])?\s*(?:is|are|:)\s*:?\s+|[A-Z]\s*\\sim\s*(?=[A-Z])"
    r"|(?:either|both|only|just|exactly|precisely)\s+(?=[-0-9\\$(A-Za-z])"
    r"|(?:故|因此|所以)?[答选]案?\s*[是为：:]\s*[:：]?\s*|#+\s+"
    r"|(?:=|\\approx|≈)\s*|(?:approximately|approx\.?|about|around|roughly|大?约"
    r"|(?:一共|总共|共|还剩|剩下?|还|需|要|有|打)+)\s*(?=[-0-9\\$零一二三四五六七八九十百])",
    re.IGNORECASE,
)
_SIZES = re.compile(
    r"\\(?:tiny|small|normalsize|large|Large|LARGE|huge|Huge|bf|rm|it|displaystyle|textstyle)(?![A-Za-z])\s*"
)
_UNWRAPPED = re.compile(
    r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox|operatorname|textnormal)\s*\{([^{}]*)\}"
)
_MICRO = re.compile(
    r"\\mu\s*(?:\\(?:mathrm|text)\s*\{\s*)?(mol|Pa|Hz|eV|[mgslLAFCVWHTSJNMΩ]|\\Omega)\}?(?![A-Za-z])"
)
_PLAIN_SIGNS = {
    "−": "-", "–": "-", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "∈": r"\in ", "∪": r"\cup ", "∩": r"\cap ",
    "∞": r"\infty ", "π": r"\pi ", "×": r"\times ", "÷": r"\div ", "·": r"\cdot ", "±": r"\pm ",
    "∅": r"\emptyset ", "≈": r"\approx ", "ℝ": r"\mathbb{R}", "￥": "¥", "￡": "£",
    "∶": ":", "℃": "°C", "℉": "°F", "′": "'", "″": "''",
}  # fmt: skip
# What is said of a letter that any whole number may stand for: 2k\pi, where k is an integer.
_FREE = re.compile(
    r"(?:\s|\\[ ,;!]|[,;，；])*[({]?(?:\s|\\[ ,;!])*(?:\\text\s*\{\s*)?(?:\b(?:where|for|with|and)\b|其中)?"
    r"\s*(?:\b(?:any|every|all)\b)?"
    r"(?:\s*integers?)?[\s}$]*(?<![A-Za-z\\])[kmnlz]\s*"
    r"(?:\\in\s*(?:\\(?:mathbb|mathbf|Bbb|rm)\s*\{?\s*)?[ZN]\}?(?:\^?[+*_]|_\+|\^\{[+*]\})?|"
    r"(?:\\text\s*\{)?\s*(?:is|are|an?|any|as|为|是|\s)+\s*(?:integers?|整数)\}?)\s*[)}]?\s*$"
)
# The same of a parameter that may be any real number.
_REAL = re.compile(
    r"(?<=[)\]}0-9a-z])\s*(?:[,;，；(]|\\[,;! ]|\\text\s*\{[^{}]*\}|\s)+(?:(?:where|for|with)\s+)?[a-z]"
    r"\s*(?:\\in\s*\\mathbb\s*\{?\s*R\}?|(?:is|any)+\s+(?:any\s+|a\s+)?real(?: number)?)\s*\)?\s*$"
)
# What is said of an answer behind it.
_REASON = re.compile(
    r"\s*,?\s+(?:because|since|which|as (?:the|it|we|there)|so (?:that|the))\b[^$]*$"
    r"|\s*\\text\s*\{\s*,?\s*(?:because|since|which)\b[^{}]*\}$"
    r"|\s*(?:\\text\s*\{)?\s*\((?:because|since|by|as|using|from|i\.e\.|e\.g\.|that is|due to|via)\b"
    r"[^(){}]*(?:\([^(){}]*\)[^(){}]*)*\)\s*\}?$"
)
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")


def cleaned(text: str) -> str:
    """Return `text` without what is round the answer, its characters those of LaTeX."""
    text = "".join(map(_plain, text)).strip()
    if "\\begin" not in text:
        text = re.sub(r"\\\\(?=[A-Za-z]{2})", r"\\", text)  # escaped twice, as in a string of JSON
    for _ in range(4):
        before = text
        for opening, closing in _WRAPPERS:
            inside = text[len(opening) : -len(closing)]
            if text.startswith(opening) and text.endswith(closing) and len(text) > len(opening + closing):
                text = text if opening in inside.replace("\\" + opening, "") else inside.strip()
        if boxed := re.fullmatch(r"\\(?:boxed|fbox)\s*\{(.*)\}", text, re.DOTALL):
            text = boxed[1].strip() if balanced(boxed[1]) else text
        text = re.sub(r"^\*\*([^*]+)\*\*", r"\1", text)
        if lead := LEAD.match(text):
            text = text[lead.end() :]
        text = (
            text if (reason := _REASON.search(text)) is None or not reason.start() else text[: reason.start()]
        )
        text = (
            re.sub(r"(?<!\.)[.。]$|\\[.。]$|[,，;；]$", "", text.strip()).strip().removesuffix("\\").strip()
        )
        if text == before:
            break
    if text.startswith("\\$") and text.endswith("\\$") and len(text) > 4:
        text = text[2:-2]
    if len(re.findall(r"(?<!\\)\$", text)) == 2:  # a formula among words: $12$ cm
        text = re.sub(r"(?<!\\)\$([^$]*[^$\\])\$", r" \1 ", text).strip()
    text = _SIZES.sub("", text)
    text = re.sub(r"\\[hv]?phantom\s*\{[^{}]*\}", "", text)
    if styled := re.fullmatch(
        r"\\(?:mathbf|mathrm|boldsymbol|bm|mathit|displaystyle)\s*\{(.*)\}", text, re.DOTALL
    ):
        text = (
            styled[1].strip() if balanced(styled[1]) and not re.fullmatch("[A-Za-z ]+", styled[1]) else text
        )
    text = re.sub(r"\s*\((?:approx\.?|approximately|约)\)$", "", text)
    text = re.sub(r"\\(?:sfrac|nicefrac)(?![A-Za-z])", r"\\frac", text)
    text = re.sub(r"\\(?:SI|qty)\s*\{([^{}]*)\}\s*\{([^{}\\]*)\}", r"\1 \\mathrm{\2}", text)
    text = re.sub(r"^([^{}=,]*)\\over(?![A-Za-z])([^{}=,]*)$", r"\\frac{\1}{\2}", text)
    text = re.sub(r"\{([^{}]*)\\over(?![A-Za-z])([^{}]*)\}", r"\\frac{\1}{\2}", text)
    text = re.sub(r"^([^{}=,]*)\\choose(?![A-Za-z])([^{}=,]*)$", r"\\binom{\1}{\2}", text)
    text = re.sub(r"\{([^{}]*)\\choose(?![A-Za-z])([^{}]*)\}", r"\\binom{\1}{\2}", text)
    text = re.sub(r"^(?:negative|minus)\s+(?=[0-9.\\])", "-", text, flags=re.IGNORECASE)
    text = text.replace("\\colon", ":").replace("\\permil", "‰")
    text = _FREE.sub("", text)
    text = _REAL.sub("", text)
    text = re.sub(r"\\(?:underline|color\s*\{\w+\}|textcolor\s*\{\w+\})\s*\{([^{}]*)\}", r"\1", text)
    text = re.sub(r"\\color\s*\{\w+\}\s*", "", text)
    text = re.sub(
        r"(?<=[0-9])\s*(?:\^?\s*\{?\s*\\(?:text|mathrm)\s*\{(?:st|nd|rd|th)\}{1,2}"
        r"|\^\s*\{?\s*(?:st|nd|rd|th)\}?$|(?:st|nd|rd|th)(?=\}?$))",
        "",
        text,
    )
    text = re.sub(
        r"(?<=[0-9.])\\dot\s*\{?([0-9])\}?(?:([0-9]*)\\dot\s*\{?([0-9])\}?)?", r"\\overline{\1\2\3}", text
    )
    text = re.sub(r"((?:[0-9]\u0305)+)", lambda m: rf"\overline{{{m[0].replace(chr(0x305), '')}}}", text)
    text = re.sub(r"(?<=[0-9])\s*(?:,|\{\s*,\s*\})(?:\s*\\!\s*|(?<=\})\s*)(?=[0-9]{3})", ",", text)
    text = re.sub(r"\s*\\q?quad\s*(,|and|or|\\text\{\s*(?:and|or)\s*\})?\s*(?:\\q?quad\s*)?", _between, text)
    text = re.sub(r"^([A-Za-z])\s+in\s+(?=\\?[\[({]|\\mathbb)", r"\1 \\in ", text)
    text = re.sub(r"(?<![\\A-Za-z])(max|min|gcd|lcm)\s*(?=\()", r"\\operatorname{\1}", text)
    text = re.sub(r"(?<![\\A-Za-z])log([0-9]{1,2})\s*(?=\()", r"\\log_{\1}", text)
    text = re.sub(r"(?<=[\w%])\s+per\s+(?!cent)(?=[a-z])", "/", text)
    text = re.sub(r"\+\s*/\s*-|(?<![A-Za-z])plus or minus", r"\\pm ", text)
    text = re.sub(r"^\\mp(?![A-Za-z])", r"\\pm", text)
    text = re.sub(r"([0-9]?)\s*([¼-¾⅐-⅞])", _vulgar, text)
    for sign, index in (("∛", 3), ("³√", 3), ("∜", 4), ("⁴√", 4)):
        text = re.sub(rf"{sign}\s*(?:\(([^()]*)\)|([0-9]+|[A-Za-z]))", rf"\\sqrt[{index}]{{\1\2}}", text)
    text = re.sub(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+", lambda m: f"^{{{m[0].translate(_SUPERSCRIPTS)}}}", text)
    text = re.sub(r"[₀-₉]+", lambda m: f"_{{{m[0].translate(_SUBSCRIPTS)}}}", text)
    text = re.sub(r"√\s*\(", r"\\sqrt(", text)
    text = re.sub(r"√\s*([0-9]+|[A-Za-z])", r"\\sqrt{\1}", text)
    text = re.sub(r"\\(?:mathbf|Bbb|bf)\s*\{?([RZNQ])\}?(?=$|[_^*+ ]|\\setminus)", r"\\mathbb{\1}", text)
    text = re.sub(r"\\bar\s*(?:\{([A-Za-z])\}|([A-Za-z]))", r"\\overline{\1\2}", text)
    for sign, latex in _PLAIN_SIGNS.items():
        text = text.replace(sign, latex)
    text = "\\\\".join(map(_unspaced, text.split("\\\\")))  # the end of a row is no backslash before a space
    text = text.replace("~", " ").replace("{,}", ",").replace("\\lbrace", "\\{")
    return text.replace("\\rbrace", "\\}").replace("\\degree", "^\\circ").strip(" ,\n\t")


def whole_letter(text: str) -> str:
    """Return the letter that `text` says to be any whole number, negative ones too; empty where none is."""
    plain = text
    for sign, latex in _PLAIN_SIGNS.items():
        plain = plain.replace(sign, latex)
    said = _FREE.search(plain.strip().strip("$").rstrip(" .。"))
    if said is None or re.search(r"N|[Zz]\}?(?:_|\^)", said[0]):
        return ""
    letter = re.search(r"(?<![A-Za-z\\])[kmnlz](?![A-Za-z])", said[0])
    return letter[0] if letter else ""


def _plain(character: str) -> str:
    """Return a character of ASCII for a wide one and for a digit of another script."""
    if "\uff01" <= character <= "\uff5e":
        return chr(ord(character) - 0xFEE0)
    return str(unicodedata.decimal(character)) if unicodedata.category(character) == "Nd" else character


def _vulgar(match: re.Match[str]) -> str:
    top, bottom = unicodedata.normalize("NFKC", match[2]).split("⁄")
    return rf"{match[1]}\frac{{{top}}}{{{bottom}}}"


def _unspaced(row: str) -> str:
    """Return `row` with plain spaces, its brackets of their own size."""
    return re.sub(
        r"\\(?:left|right|bigl?|bigr?|Bigl?|Bigr?|displaystyle)(?![A-Za-z])|\\[,;!:]", _spacing, row
    ).replace("\\ ", " ")


def _between(match: re.Match[str]) -> str:
    """Return what stands for a wide space: a word that it surrounds, or a comma."""
    return f" {match[1]} " if match[1] and match[1] != "," else ", "


def _spacing(match: re.Match[str]) -> str:
    return " " if match[0][1] in ",;:" else ""


def unwrapped(source: str) -> str:
    r"""Return the answer as words: \text{} opened, signs as they are written without LaTeX."""
    bare = re.sub(r"([0-9}])\s*(?=\\(?:text|mathrm|mbox)\s*\{)", r"\1 ", source)
    bare = re.sub(r"\^\s*\{\s*(-?[0-9])\s*\}", r"^\1", bare)
    bare = _MICRO.sub(r"µ\1", bare)
    bare = _UNWRAPPED.sub(r"\1", _UNWRAPPED.sub(r"\1", bare))
    bare = _MICRO.sub(r"µ\1", bare)
    bare = re.sub(r"\s*\^\s*\{?\s*\\circ\s*\}?\s*", "°", bare)
    for latex, sign in (
        ("\\%", "%"),
        ("\\$", "$"),
        ("\\ldots", "…"),
        ("\\dots", "…"),
        ("\\quad", " "),
        ("\\Omega", "Ω"),
    ):
        bare = bare.replace(latex, sign)
    return re.sub(r"\s+", " ", bare).strip().replace("per cent", "percent")


def balanced(text: str) -> bool:
    depth = 0
    for mark in re.findall(r"\\.|[{}]", text):
        depth += {"{": 1, "}": -1}.get(mark, 0)
        if depth < 0:
            return False
    return not depth
