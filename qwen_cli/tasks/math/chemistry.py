r"""Chemical formulas and equations: `\ce{H2SO4}`, `\text{H}_2\text{O}`, `Fe^{3+}`, `2H2 + O2 -> 2H2O`.

Runs in the sandbox (see `answer.Judge`), so it imports nothing of this package.
"""

from __future__ import annotations

import re

_LONGEST = 300  # characters
_ELEMENTS = (
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr"
    " Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta"
    " W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu"
)
_ELEMENT = "(?:" + "|".join(sorted(_ELEMENTS.split(), key=len, reverse=True)) + ")"
_COUNTED = rf"(?:{_ELEMENT}[0-9]*|[(\[](?:{_ELEMENT}[0-9]*|\((?:{_ELEMENT}[0-9]*)+\)[0-9]*)+[)\]][0-9]*)+"
_SPECIES = re.compile(
    r"(?P<times>[0-9]*)(?P<isotope><[0-9]+>)?"
    rf"(?P<formula>(?:{_COUNTED}(?:[·.*][0-9]*{_COUNTED})?)|e(?=\^?-))"
    r"(?P<charge>\^[0-9]*[+-]|[+-](?![0-9A-Ze(\[<]))?(?:\((?:s|l|g|aq)\))?"
)
_LOW = str.maketrans("₀₁₂₃₄₅₆₇₈₉₊₋", "0123456789+-")
_ARROW = re.compile(
    r"\\(?:longrightarrow|rightarrow|to|rightleftharpoons|leftrightarrow)(?![A-Za-z])|<?[-=]+>|[→⇌⟶]|="
)
_WRAPPED = re.compile(r"\\(?:ce|text|mathrm|textrm|mathsf|rm|operatorname)(?![A-Za-z])")
_ISOTOPE = re.compile(
    r"(?<![A-Za-z0-9)\]}])(?:\^\s*\{?\s*([0-9]{1,3})\s*\}?(?![0-9+-])(?:\s*_\s*\{?\s*[0-9]{1,3}\s*\}?)?"
    r"|_\s*\{?\s*[0-9]{1,3}\s*\}?\s*\^\s*\{?\s*([0-9]{1,3})\s*\}?)"
)  # whose second number the element says too


def chemical(source: str) -> str:
    """Return one text for all ways to write a formula, or an equation whose terms stand in any order; empty
    where `source` is none, or is letters alone, which could be anything."""
    if len(source) > _LONGEST:
        return ""
    text = _WRAPPED.sub("", source.translate(_LOW)).replace("−", "-").replace("\\cdot", "·")
    text = _ISOTOPE.sub(r"<\1\2>", text.replace("{}", ""))
    sides = [_side(side) for side in _ARROW.split(text)]
    if len(sides) > 2 or not all(sides) or (len(sides) == 1 and len(sides[0]) > 1):
        return ""
    told = " -> ".join(" + ".join(sorted(side)) for side in sides)
    return told if len(sides) == 2 or re.search(r"[0-9^]", told) else ""


def _side(text: str) -> list[str]:
    """Return the species of one side of an equation; none where something else is among them."""
    text = re.sub(r"[\s{}_$]|\\[,;! ]", "", text)
    species: list[str] = []
    at = 0
    while at < len(text):
        at += bool(species) and text[at] == "+"
        match = _SPECIES.match(text, at)
        if match is None or (species and text[match.start() - 1] != "+"):
            return []
        species.append(_told(match))
        at = match.end()
    return species


def _told(match: re.Match[str]) -> str:
    formula, charge = match["formula"], match["charge"] or ""
    if charge and charge[0] != "^" and (ion := re.fullmatch(rf"({_ELEMENT}|\[.*\])([0-9])", formula)):
        formula, charge = ion[1], ion[2] + charge  # Fe3+, but NH4+
    charge = charge.lstrip("^").removeprefix("1")
    times = "" if match["times"] == "1" else match["times"]
    return f"{times}{match['isotope'] or ''}{formula}{'^' if charge else ''}{charge}"
