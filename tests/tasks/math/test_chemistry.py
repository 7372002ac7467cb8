"""Chemical formulas, however they are written."""

from __future__ import annotations

import pytest

from qwen_cli.tasks.math.chemistry import chemical


@pytest.mark.parametrize(
    ("formula", "ways"),
    [
        ("H2SO4", [r"\mathrm{H_2SO_4}", r"\ce{H2SO4}", r"\text{H}_2\text{SO}_4", "H₂SO₄", r"H_{2}SO_{4}"]),
        ("Ca(OH)2", [r"\mathrm{Ca(OH)_2}", r"\text{Ca(OH)}_2"]),
        ("CuSO4·5H2O", [r"\mathrm{CuSO_4\cdot 5H_2O}", "CuSO4·5H2O"]),
        ("Fe^3+", [r"\ce{Fe^{3+}}", r"\text{Fe}^{3+}", "Fe3+"]),
        ("NH4^+", [r"\text{NH}_4^+", "NH4+"]),
        ("[Cu(NH3)4]^2+", [r"[\text{Cu(NH}_3)_4]^{2+}", "[Cu(NH3)4]2+"]),
        ("<14>C", [r"^{14}_{6}\text{C}", r"{}^{14}C", r"{}_6^{14}\mathrm{C}"]),
        ("2H2 + O2 -> 2H2O", [r"2H_2 + O_2 \to 2H_2O", r"\ce{O2 + 2H2 -> 2H2O}", "2H2+O2=2H2O"]),
        ("Cl^- + Na^+ -> NaCl", [r"Na^+ + Cl^- \rightarrow NaCl", "Na+ + Cl- → NaCl"]),
    ],
)
def test_a_formula_has_one_text(formula: str, ways: list[str]) -> None:
    assert [chemical(way) for way in ways] == [formula] * len(ways)


@pytest.mark.parametrize(
    "other", ["CO", "B", "x^2", "C_6^2", "7!", "V=IR", "P_1+P_2", "12", "2A_{16}", "", "^{14}"]
)
def test_what_could_be_anything_is_no_formula(other: str) -> None:
    assert not chemical(other)
