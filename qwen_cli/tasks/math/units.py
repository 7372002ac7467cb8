"""Units of answers: `km/h`, `square meters`, `元`; what they measure, and how they convert.

Runs in the sandbox (see `answer.Judge`), so it imports nothing of this package.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import sympy

_LONGEST = 60  # characters of a unit


@dataclass(frozen=True)
class Unit:
    """`factor` converts to the base units of `measures`: ("length", 1), ("time", -1), …; `offset` (kelvins)
    is added after. `free`: without its unit the number may also mean the converted value (50 % is 0.5).
    What is counted (eggs, students) measures nothing and is only `label`. `glued`: a single letter right
    behind the number, which could be a variable: never the same as the number without it. `name`: a label's
    words."""

    measures: tuple[tuple[str, int], ...] = ()
    factor: Any = 1
    offset: Any = 0
    free: bool = False
    label: bool = False
    glued: bool = False
    name: str = field(default="", compare=False)

    def __mul__(self, other: Unit) -> Unit:
        totals = dict(self.measures)
        for what, power in other.measures:
            totals[what] = totals.get(what, 0) + power
        left = tuple(sorted((what, power) for what, power in totals.items() if power))
        return Unit(left, self.factor * other.factor, free=self.free and other.free)

    def __pow__(self, power: int) -> Unit:
        return Unit(tuple((what, n * power) for what, n in self.measures), self.factor**power)


LABEL = Unit(label=True)
NUMBERS = {
    "hundred": 10**2,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "dozen": 12,
    "百": 10**2,
    "千": 10**3,
    "万": 10**4,
    "亿": 10**8,
}
"""Words that multiply the number before them."""

# A measure, then its units: a factor and the names of each. Names of several measures stand with each.
_TABLE = """
length: 1/1000 mm millimeter millimetre 毫米; 1/100 cm centimeter centimetre 厘米; 1/10 dm decimeter 分米;
 1 m meter metre 米; 1000 km kilometer kilometre 千米 公里; 1/1000000 µm micrometer; 1/1000000000 nm;
 254/10000 in inch inches 英寸; 3048/10000 ft foot feet 英尺; 9144/10000 yd yard; 1609344/1000 mi mile 英里
mass: 1/1000 g gram 克; 1/1000000 mg milligram 毫克; 1 kg kilogram 千克 公斤; 1000 t ton tonne 吨; 1/2 斤;
 45359237/100000000 lb lbs pound 磅; 45359237/1600000000 oz ounce 盎司
time: 1 s sec second 秒 秒钟; 1/1000 ms millisecond; 60 min minute 分 分钟; 3600 h hr hour 小时 时;
 86400 d day 天 日; 604800 wk week 周 星期 个星期
calendar: 1 month mo 月 个月; 12 year yr 年; 120 decade; 1200 century centuries 世纪
current: 1 A amp ampere 安; 1/1000 mA
temperature: 1 K kelvin
data: 1 byte B; 1/8 bit; 1000 kB KB kilobyte; 1000000 MB megabyte; 1000000000 GB gigabyte; 1000000000000 TB
amount: 1 mol mole 摩尔
usd: 1 $ USD dollar US$ 美元 buck; 1/100 cent ¢ 美分
brl: 1 R$ BRL real reais
hkd: 1 HK$ HKD 港元 港币
twd: 1 NT$ TWD 新台币
aud: 1 A$ AUD
cad: 1 C$ CAD
sgd: 1 S$ SGD
eur: 1 € EUR euro 欧元
gbp: 1 £ GBP pound 英镑; 1/100 pence penny
cny: 1 元 yuan RMB CNY ¥ 块 块钱 人民币; 1/10 角 毛 jiao; 1/100 分 fen
jpy: 1 円 yen JPY ¥ 日元
inr: 1 ₹ rupee Rs INR
angle: 1 rad radian 弧度
"""
_DERIVED = {
    "L l liter litre 升": ("length:3", "1/1000"),
    "mL ml milliliter millilitre 毫升": ("length:3", "1/1000000"),
    "cc": ("length:3", "1/1000000"),
    "gallon gal": ("length:3", "3785411784/1000000000000"),
    "quart qt": ("length:3", "3785411784/4000000000000"),
    "pint pt": ("length:3", "3785411784/8000000000000"),
    "cup": ("length:3", "3785411784/16000000000000"),
    "tablespoon tbsp": ("length:3", "3785411784/256000000000000"),
    "teaspoon tsp": ("length:3", "3785411784/768000000000000"),
    "ha hectare 公顷": ("length:2", "10000"),
    "acre": ("length:2", "40468564224/10000000"),
    "亩": ("length:2", "2000/3"),
    "mph": ("length:1 time:-1", "44704/100000"),
    "kph kmh": ("length:1 time:-1", "1000/3600"),
    "Hz hertz 赫兹": ("time:-1", "1"),
    "N newton 牛 牛顿": ("length:1 mass:1 time:-2", "1"),
    "J joule 焦 焦耳": ("length:2 mass:1 time:-2", "1"),
    "kJ kilojoule": ("length:2 mass:1 time:-2", "1000"),
    "W watt 瓦": ("length:2 mass:1 time:-3", "1"),
    "kW kilowatt 千瓦": ("length:2 mass:1 time:-3", "1000"),
    "kWh": ("length:2 mass:1 time:-2", "3600000"),
    "Pa pascal 帕": ("length:-1 mass:1 time:-2", "1"),
    "bar": ("length:-1 mass:1 time:-2", "100000"),
    "atm atmosphere": ("length:-1 mass:1 time:-2", "101325"),
    "cal calorie 卡": ("length:2 mass:1 time:-2", "4184/1000"),
    "kcal kilocalorie 千卡 大卡": ("length:2 mass:1 time:-2", "4184"),
    "C coulomb 库仑": ("current:1 time:1", "1"),
    "V volt 伏": ("current:-1 length:2 mass:1 time:-3", "1"),
    "Ω ohm 欧姆": ("current:-2 length:2 mass:1 time:-3", "1"),
    "S siemens": ("current:2 length:-2 mass:-1 time:3", "1"),
    "F farad 法拉": ("current:2 length:-2 mass:-1 time:4", "1"),
    "H henry 亨利": ("current:-2 length:2 mass:1 time:-2", "1"),
    "T tesla 特斯拉": ("current:-1 mass:1 time:-2", "1"),
    "Wb weber 韦伯": ("current:-1 length:2 mass:1 time:-2", "1"),
    "eV electronvolt": ("length:2 mass:1 time:-2", "1602176634/10000000000000000000000000000"),
    "M molar": ("amount:1 length:-3", "1000"),
    "Å angstrom": ("length:1", "1/10000000000"),
}
_DEGREE = Unit((("angle", 1),), sympy.pi / 180, free=True)
_PERCENT = Unit((), sympy.Rational(1, 100), free=True)
_PERMILLE = Unit((), sympy.Rational(1, 1000), free=True)
_CELSIUS = Unit((("temperature", 1),), sympy.Integer(1), sympy.Rational(27315, 100))
_FAHRENHEIT = Unit((("temperature", 1),), sympy.Rational(5, 9), sympy.Rational(45967, 180))
_SINGULAR = re.compile(r"(?<=[a-z]{2})(?:s|es)$|(?<=inch)es$")
_PREFIXES = {"k": 3, "M": 6, "G": 9, "T": 12, "d": -1, "c": -2, "m": -3, "µ": -6, "μ": -6, "n": -9, "p": -12}
_PREFIXED = frozenset(
    (
        "m",
        "g",
        "s",
        "L",
        "N",
        "J",
        "W",
        "Pa",
        "Hz",
        "V",
        "A",
        "Ω",
        "mol",
        "C",
        "cal",
        "F",
        "H",
        "T",
        "S",
        "eV",
        "M",
        "bit",
    )
)
_POWERS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3, "平方": 2, "立方": 3}
_PART = re.compile(
    r"\s*(?P<over>/|\bper\b|每)?\s*(?:[·*.⋅]|\\cdot)?\s*(?P<power>(?:square|sq\.?|cubic|cu\.?)\s+|平方|立方)?"
    r"(?P<name>US\$|R\$|HK\$|NT\$|[ACS]\$|[$€£¥₹¢%‰°]|[A-Za-zµμΩÅ]+|[\u4e00-\u9fff]+|円)\.?"
    r"(?P<after>(?:\s*\^\s*\{?\s*|\{?)(?P<exponent>-?[1-9])\s*\}?|\s*[²³]|\s+(?P<word>squared|cubed))?"
)
_GENERIC = ("unit", "square unit", "cubic unit", "sq unit", "平方单位", "单位")


@cache
def _names() -> dict[str, list[Unit]]:
    """Return every name with the units that it can be."""
    names: dict[str, list[Unit]] = {}
    for line in _TABLE.strip().replace(";\n", ";").split("\n"):
        what, _, rest = line.partition(":")
        for entry in rest.split(";"):
            factor, *called = entry.split()
            for name in called:
                names.setdefault(name, []).append(Unit(((what, 1),), sympy.Rational(factor)))
    for called_all, (measures, factor) in _DERIVED.items():
        parts = tuple((word.split(":")[0], int(word.split(":")[1])) for word in measures.split())
        for name in called_all.split():
            names.setdefault(name, []).append(Unit(tuple(sorted(parts)), sympy.Rational(factor)))
    for name in ("°", "degree", "deg", "度"):
        names.setdefault(name, []).append(_DEGREE)
    for name in ("%", "percent", "percentage", "pct"):
        names[name] = [_PERCENT]
    names["‰"] = [_PERMILLE]
    for name in ("°C", "degree Celsius", "degree celsius", "℃", "摄氏度", "Celsius"):
        names[name] = [_CELSIUS]
    names["C"].append(_CELSIUS)
    for name in ("°F", "degree Fahrenheit", "degree fahrenheit", "℉", "华氏度", "Fahrenheit"):
        names[name] = [_FAHRENHEIT]
    names["F"].append(_FAHRENHEIT)
    for name in _GENERIC:
        names[name] = [Unit()]
    return names


def units(text: str) -> list[Unit]:
    """Return what `text` can be as a unit; none where it is not one."""
    text = re.sub(r"\s+", " ", text.replace("° ", "°").strip().rstrip("."))
    if not text or len(text) > _LONGEST:
        return []
    if whole := _named(re.sub(r"degrees?(?= [CFcf])", "degree", text)):
        return whole
    parsed: list[Unit] = [Unit()]
    at, over = 0, 1
    while at < len(text):
        part = _PART.match(text, at)
        if part is None or part.end() == at:
            return []
        named = _named(part["name"])
        if not named:
            return []
        if part["over"]:
            over = -1
        parsed = [unit * one ** (_power(part) * over) for unit in parsed for one in named if len(parsed) < 8]
        at = part.end()
    return parsed


def _power(part: re.Match[str]) -> int:
    if part["power"]:
        return _POWERS[part["power"].strip().rstrip(".")]
    if part["word"]:
        return {"squared": 2, "cubed": 3}[part["word"]]
    if part["exponent"]:
        return int(part["exponent"])
    return {"²": 2, "³": 3}.get((part["after"] or "").strip(), 1)


def _named(name: str) -> list[Unit]:
    names = _names()
    for candidate in (name, name.lower(), _SINGULAR.sub("", name.lower()), name.lower().removesuffix("s")):
        if candidate in names and (len(name) > 2 or candidate == name):
            return names[candidate]
    if name[:1] in _PREFIXES and name[1:] in _PREFIXED:
        factor = Unit(factor=sympy.Integer(10) ** _PREFIXES[name[0]])
        return [factor * unit for unit in names[name[1:]]]
    return []
