"""Whole definitions in a source text: functions, classes, methods, types, constants.

tree-sitter where there is a grammar, rules about keywords and indentation elsewhere. `names` is the quick
look over a whole repository (a regular expression, no ranges); `definitions` is the exact one for few files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qwen_cli.tasks.repository import languages

if TYPE_CHECKING:
    from tree_sitter import Node


@dataclass(frozen=True)
class Definition:
    """Lines `start` to `end` (counted from 0, `end` not included) that define `name`.

    `head` is where its body begins: up to there the lines tell what the definition is. `outer` is the
    position of the enclosing class in the list, or None.
    """

    name: str
    start: int
    head: int
    end: int
    outer: int | None = None


# Node types of the nine grammars. Their names hardly overlap, so one table serves all.
# fmt: off
_DEFINES = frozenset((
    "function_definition", "class_definition", "struct_specifier", "class_specifier",
    "union_specifier", "enum_specifier", "type_definition", "alias_declaration", "preproc_def",
    "preproc_function_def", "concept_definition", "function_declaration",
    "generator_function_declaration", "class_declaration", "abstract_class_declaration",
    "interface_declaration", "type_alias_declaration", "enum_declaration", "variable_declarator",
    "method_definition", "function_signature", "abstract_method_signature", "method_declaration",
    "type_spec", "type_alias", "const_spec", "var_spec", "function_item", "struct_item",
    "enum_item", "union_item", "trait_item", "impl_item", "const_item", "static_item", "type_item",
    "macro_definition", "function_signature_item", "record_declaration",
    "annotation_type_declaration", "constructor_declaration",
))
# fmt: on
# Nodes without a name of their own; their lines belong to what they hold.
# fmt: off
_WRAPS = frozenset((
    "decorated_definition", "export_statement", "template_declaration", "lexical_declaration",
    "variable_declaration", "type_declaration", "const_declaration", "var_declaration",
    "declaration", "field_declaration", "ambient_declaration", "expression_statement",
))
# fmt: on
# Nodes that only group definitions.
# fmt: off
_GROUPS = frozenset((
    "module", "translation_unit", "program", "source_file", "block", "preproc_if", "preproc_ifdef",
    "preproc_else", "linkage_specification", "declaration_list", "namespace_definition", "mod_item",
    "internal_module", "statement_block", "if_statement", "try_statement", "else_clause",
    "except_clause", "const_spec_list", "var_spec_list",
))
# fmt: on
# fmt: off
_CLASSES = frozenset((
    "class_definition", "class_specifier", "struct_specifier", "class_declaration",
    "abstract_class_declaration", "interface_declaration", "enum_declaration", "record_declaration",
    "impl_item", "trait_item",
))
# fmt: on
# fmt: off
_COMMENTS = frozenset((
    "comment", "line_comment", "block_comment", "attribute_item",
))
# fmt: on


def definitions(text: str, path: str) -> list[Definition]:
    """Return the definitions at the top of a file and inside its classes, in the order of the text."""
    language = languages.language_of(path)
    if language is None:
        return list(_by_indentation(text.splitlines()))
    tree = languages.parser(language).parse(text.encode("utf-8", "surrogatepass"))
    collected: list[Definition] = []
    _collect(tree.root_node, None, None, collected)
    return collected


def _collect(node: Node, outer: int | None, wrapper: Node | None, collected: list[Definition]) -> None:
    for child in node.named_children:
        kind = child.type
        if kind in _DEFINES and (name := _name(child)):
            whole = wrapper or child
            body = child.child_by_field_name("body")
            position = len(collected)
            collected.append(
                Definition(
                    name,
                    _first_line(whole),
                    body.start_point.row
                    if body and body.start_point.row > whole.start_point.row
                    else whole.start_point.row + 1,
                    whole.end_point.row + (whole.end_point.column > 0),
                    outer,
                )
            )
            if kind in _CLASSES and body and outer is None:
                _collect(body, position, None, collected)
        elif kind in _WRAPS:
            if (variable := _variable(child)) and outer is None:
                whole = wrapper or child
                end = whole.end_point.row + (whole.end_point.column > 0)
                collected.append(Definition(variable, _first_line(whole), end, end, outer))
            _collect(child, outer, wrapper or child, collected)
        elif kind in _GROUPS:
            _collect(child, outer, None, collected)


def _name(node: Node) -> str:
    """Return the last name in a declarator: `size` of `int *Buffer::size() const`, `S` of `impl<T> S<T>`."""
    named = node.child_by_field_name("name")
    while named is None or named.child_by_field_name("declarator") or named.child_by_field_name("name"):
        inner = named or node
        following = (
            inner.child_by_field_name("declarator")
            or inner.child_by_field_name("name")
            or (inner.child_by_field_name("type") if inner.type == "impl_item" else None)
        )
        if following is None:
            break
        named = following
    if named is None or named.text is None:
        return ""
    match = re.match(r"[^\W\d]\w*", named.text.decode("utf-8", "replace"))
    return match[0] if match else ""


def _variable(node: Node) -> str:
    """Return the constant that a Python assignment or a C declaration at the top of a file names."""
    inner = node.named_children[0] if node.named_children else None
    if node.type == "expression_statement" and inner is not None and inner.type == "assignment":
        target = inner.child_by_field_name("left")
        if target is not None and target.type == "identifier" and target.text is not None:
            return target.text.decode("utf-8", "replace")
        return ""
    return _name(node) if node.type == "declaration" else ""


def _first_line(node: Node) -> int:
    """Return the comments and attributes directly above a definition belong to it."""
    first = node.start_point.row
    before = node.prev_named_sibling
    while before is not None and before.type in _COMMENTS:
        last = before.end_point.row - (before.end_point.column == 0)
        # A comment that shares its first line with code belongs to that code.
        sharer = before.prev_named_sibling
        if last + 1 < first or (sharer is not None and sharer.end_point.row == before.start_point.row):
            break
        first, before = before.start_point.row, sharer
    return first


_KEYWORDS = (
    r"def|class|module|function|func|fun|fn|sub|interface|protocol|extension|struct|enum|trait|type|object|"
    r"record|union|impl|mod|namespace|macro_rules!|const|let|var|val"
)
_MODIFIERS = (
    r"export|default|pub(?:\([^)\n]*\))?|public|private|protected|internal|static|abstract|final|async|inline|"
    r"extern|unsafe|const|override|virtual|data|sealed|open|declare|local|mutating|partial"
)
_NAME = r"[^\W\d]\w*"
_PLAIN_RULE = re.compile(
    rf"^[ \t]*(?:(?:{_MODIFIERS})[ \t]+)*(?:{_KEYWORDS})[ \t]+(?:self\.|[\w.]+[.:])?(?P<name>{_NAME})"
)
_PLAIN_END = re.compile(r"\s*(?:end\b|[\]})]+[;,]?\s*$)")


def _by_indentation(lines: list[str]) -> Iterator[Definition]:
    """Yield definitions: each reaches as far as its lines are indented deeper, and over a closing line."""
    for start, line in enumerate(lines):
        opening = _PLAIN_RULE.match(line)
        if opening is None:
            continue
        depth = _depth(line)
        end = start + 1
        while end < len(lines) and (not lines[end].strip() or _depth(lines[end]) > depth):
            end += 1
        if end < len(lines) and _depth(lines[end]) == depth and _PLAIN_END.match(lines[end]):
            end += 1
        while not lines[end - 1].strip():
            end -= 1
        yield Definition(opening["name"], start, start + 1, end)


def _depth(line: str) -> int:
    expanded = line.expandtabs(4)
    return len(expanded) - len(expanded.lstrip())


_TYPES = r"class|interface|protocol|struct|enum|trait|record|object"
# One pass over a text finds the names it defines: keyword definitions of all languages, Go's methods,
# Python's constants, C's macros, typedefs and functions (a name before a bracket at the start of a line).
# Indented ones count for types only (C# and Java nest them): a method's name (`get`, `update`) does not say
# which class is meant, and the class is found by its own.
_NAMES = re.compile(
    rf"^(?:(?:{_MODIFIERS})[ \t]+)*(?:{_KEYWORDS})[ \t]+(?:\([^)\n]*\)[ \t]*)?({_NAME})"
    rf"|^[ \t]+(?:(?:{_MODIFIERS})[ \t]+)*(?:{_TYPES})[ \t]+({_NAME})"
    rf"|^({_NAME})[ \t]*(?::[^=\n]+)?=[^=]"
    rf"|^[ \t]*#[ \t]*define[ \t]+({_NAME})"
    rf"|^\}}[ \t]*({_NAME})[ \t]*;"
    # The look-ahead keeps the time in hand on lines that no person wrote.
    rf"|^(?=.{{,400}}$)(?:{_NAME}[\w:<>,*& \t]*[ \t*&])(?:{_NAME}::)*({_NAME})\([^;\n]*$",
    re.MULTILINE,
)


def names(text: str) -> frozenset[str]:
    """Return the names that a text seems to define. Quick (about 1 ms for 30 KB); ranges are left to
    `definitions`."""
    return frozenset(next(filter(None, groups)) for groups in _NAMES.findall(text))


def all_names(text: str) -> set[str]:
    """Return the names of functions and types that a text defines at any depth, methods too."""
    return {match["name"] for line in text.splitlines() if (match := _PLAIN_RULE.match(line))}


def extract(text: str, selected: list[Definition], wholes: Iterable[int], heads: Iterable[int] = ()) -> str:
    """Return the definitions at positions `wholes` of `selected`, and of those at `heads` the lines above the
    body.

    Members stand under the head of their class; what lies between is left out; the order is the file's.
    """
    lines = text.splitlines()
    wanted: set[int] = set()
    for position in wholes:
        wanted.update(range(selected[position].start, selected[position].end))
    for position in (*wholes, *heads):
        outer = selected[position].outer
        for part in (position, outer) if outer is not None else (position,):
            wanted.update(range(selected[part].start, selected[part].head))
    out: list[str] = []
    previous = None
    for number in sorted(wanted):
        if previous is not None and number > previous + 1 and out[-1].strip():
            out.append("")
        out.append(lines[number])
        previous = number
    return "\n".join(out)
