"""The grammar of tool calls for raw prompts, in llama.cpp's GBNF (grammars/README.md).

For chats llama.cpp makes one of the template, and reads the calls itself, in ways that other engines do not.
This one holds a call from `<tool_call>` on: known tools, known arguments, values of the simple types, JSON.
What it cannot hold (which arguments are required, what is nested) is looked at once the call is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from qwen_cli.engines.core import choices
from qwen_cli.engines.parsing.argument import types_of

OPEN, CLOSE = "<tool_call>", "</tool_call>"
_XML = "<function="  # what a template shows of calls whose values are plain text
_VALUE_END = "</parameter>"
_BY_WORD = 1  # COMMON_GRAMMAR_TRIGGER_TYPE_WORD (common/common.h)
_SIMPLE = {"string", "integer", "number", "boolean", "null", "object", "array"}
_JSON = r"""
space ::= | " " | "\n"{1,2} [ \t]{0,20}
value ::= object | array | string | number | boolean | null
object ::= "{" space ( member ( space "," space member )* )? space "}"
member ::= string space ":" space value
array ::= "[" space ( value ( space "," space value )* )? space "]"
string ::= "\"" ( [^"\\\x7F\x00-\x1F] | "\\" ( ["\\/bfnrt] | "u" [0-9a-fA-F]{4} ) )* "\""
number ::= integer ( "." [0-9]+ )? ( [eE] [-+]? [0-9]+ )?
integer ::= "-"? ( "0" | [1-9] [0-9]{0,18} )
boolean ::= "true" | "false"
null ::= "null"
"""


def fields(template: str, tools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the fields of a request that hold calls of `tools` to the form that the chat `template` shows,
    as soon as one begins; none where it shows none."""
    if OPEN not in template:
        return {}
    functions = [tool.get("function") or tool for tool in tools]
    return {
        "grammar": _grammar(functions, xml=_XML in template),
        "grammar_lazy": True,
        "grammar_triggers": [{"type": _BY_WORD, "value": OPEN}],
    }


def _grammar(functions: Sequence[Mapping[str, Any]], *, xml: bool) -> str:
    rules = [
        "root ::= call ( space call )* space",
        f"call ::= {_literal(OPEN)} space ( {' | '.join(f't{i}' for i in range(len(functions)))} ) space "
        f"{_literal(CLOSE)}",
    ]
    for index, function in enumerate(functions):
        rules += (_xml if xml else _hermes)(f"t{index}", function)
    return "\n".join([*rules, *(_until() if xml else ())]) + _JSON


def _hermes(name: str, function: Mapping[str, Any]) -> list[str]:
    head = f'"{{" space {_literal(json.dumps("name"))} space ":" space '
    written = _literal(json.dumps(str(function.get("name")), ensure_ascii=False))
    between = f' space "," space {_literal(json.dumps("arguments"))} space ":" space '
    rules = [f'{name} ::= {head}{written}{between}{name}a space "}}"']
    properties, schema = _properties(function)
    if not properties:
        return [*rules, f"{name}a ::= object"]
    pairs = " | ".join(
        f'{_literal(json.dumps(key, ensure_ascii=False))} space ":" space {_value(one, schema)}'
        for key, one in properties.items()
    )
    rules.append(f'{name}a ::= "{{" space ( {name}p ( space "," space {name}p )* )? space "}}"')
    return [*rules, f"{name}p ::= {pairs}"]


def _xml(name: str, function: Mapping[str, Any]) -> list[str]:
    properties, schema = _properties(function)
    parameters = []
    for key, one in properties.items():
        types = types_of(one, schema)
        plain = not types or "string" in types
        value = "until" if plain else f"{_value(one, schema)} space {_literal(_VALUE_END)}"
        parameters.append(f'{_literal(f"<parameter={key}>")} "\\n"? {value}')
    if not properties:
        parameters = [r'"<parameter=" [^<>\n]+ ">" "\n"? until']
    opening = _literal(f"<function={function.get('name')}>")
    return [
        f"{name} ::= {opening} space ( {name}p space )* {_literal('</function>')}",
        f"{name}p ::= {' | '.join(parameters)}",
    ]


def _value(schema: Any, root: Mapping[str, Any]) -> str:
    """Return the rule of a value in JSON."""
    values = schema.get("enum") if isinstance(schema, Mapping) else None
    if isinstance(values, list) and values:
        return f"( {choices.alternatives((json.dumps(v, ensure_ascii=False) for v in values), _literal)} )"
    types = types_of(schema, root)
    return f"( {' | '.join(sorted(types))} )" if types and types <= _SIMPLE else "value"


def _until() -> list[str]:
    """Return the rules of a text up to its closing tag and with it: one for each character of the tag that
    has come (Knuth, Morris and Pratt; its first character is in it once)."""
    rules = ["until ::= u0"]
    for index, character in enumerate(_VALUE_END):
        after = f"u{index + 1}" if index + 1 < len(_VALUE_END) else ""
        again = '| "<" u1 ' if index else ""
        others = f"[^<{character}]" if index else f"[^{character}]"
        rules.append(f'u{index} ::= "{character}" {after} {again}| {others} u0')
    return rules


def _properties(function: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the properties that the arguments of a function may have, and the schema that they are from;
    none where others may be there too."""
    schema = function.get("parameters")
    if not isinstance(schema, Mapping) or schema.get("additionalProperties"):
        return {}, {}
    properties = schema.get("properties")
    return (properties if isinstance(properties, Mapping) else {}), schema


def _literal(text: str) -> str:
    """Return `text` as GBNF writes it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'
