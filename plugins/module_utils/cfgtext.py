# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The language of xl.cfg: a value written, a text read into {key: value}. What the keys mean is in xlcfg.py. Pure.

The grammar is that of tools/libs/util/libxlu_cfg_{l.l,y.y} (4.17): assignments ended by a newline or ';', values of
strings, numbers and lists, '+=' since 4.13. It has quirks that shape what is written here: numeric escapes in strings
are lost by xl, a carriage return is an error, and a comment must end with a newline.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.masking import MASK, is_secret
from ansible_collections.stubdom.xen.plugins.module_utils.spec import invalid

ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\a": "\\a", "\b": "\\b", "\f": "\\f", "\v": "\\v", "\r": "\\r"}
UNESCAPES = {"\\": "\\", '"': '"', "'": "'", "n": "\n", "t": "\t", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "r": "\r"}
DEEPEST = 50  # lists within lists: xl's parser has a limit too, and no key takes more than one
TOKEN = re.compile(
    r"""(?P<space>[ \t]+|\#[^\n]*(?=\n))|(?P<end>\n|;)|(?P<name>[a-z][._0-9a-z]*)|(?P<number>[0-9][0-9a-fx]*)
      |(?P<string>"(?:[^"\\\n]|\\[^\n])*"|'(?:[^'\\\n]|\\[^\n])*')|(?P<sign>\+=|=)|(?P<mark>[\[\],])""",
    re.X,
)


def quote(value: Any, key: str) -> str:
    """A value in xl.cfg's spelling; anything but numbers and lists as a string."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, int) and value >= 0:
        return str(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(quote(item, key) for item in value) + "]"
    if isinstance(value, (str, int, float)):
        return '"' + "".join(_escape(c, key) for c in str(value)) + '"'
    raise invalid(key, value, "a string, a number or a list of them")


def _escape(character: str, key: str) -> str:
    if character in ESCAPES:
        return ESCAPES[character]
    if ord(character) < 32 or ord(character) == 127:
        raise invalid(key, character, "text without control characters", "xl.cfg has no way to write one")
    if "\ud800" <= character < "\udc80" or "\udcff" < character <= "\udfff":  # between them: bytes that are no UTF-8
        raise invalid(key, character, "whole characters", "half of a surrogate pair cannot be written to a file")
    return character


class Token(NamedTuple):
    kind: str
    text: str
    line: int


def parse(text: str) -> dict[str, Any]:
    """The assignments of an xl.cfg text: strings as str, numbers as their text (class Number), lists as list.

    Raises XenError(cfg_syntax) with the line, where xl would refuse it too; what stands on the line of a password is not told.
    """
    try:
        return _assigned(list(_tokens(text)))
    except XenError as error:
        line, seen = error.evidence["line"], error.evidence["text"]
        if seen != MASK and is_secret(text.split("\n")[line - 1] + seen):
            raise _syntax(line, MASK) from None
        raise


def _assigned(tokens: list[Token]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    at = 0
    while at < len(tokens):
        if tokens[at].kind == "end":
            at += 1
            continue
        line, key, sign = tokens[at].line, _expect(tokens, at, "name"), _expect(tokens, at + 1, "sign")
        value, at = _read_value(tokens, at + 2)
        values[key] = _append(values.get(key), value, line) if sign == "+=" else value
        if at < len(tokens):
            _expect(tokens, at, "end")
    return values


class Number(str):
    """A number as it was written: 0x10 and 010 keep their spelling until somebody asks for their value."""


class Added(str):
    """A text written with '+=': xl takes no number from it (libxlu_cfg.c, 4.13)."""


def _tokens(text: str) -> Iterator[Token]:
    at, line = 0, 1
    while at < len(text):
        match = TOKEN.match(text, at)
        if match is None:  # whatever is wrong before it comes first
            yield Token("wrong", text[at : at + 20], line)
            return
        if match.lastgroup != "space":
            yield Token(str(match.lastgroup), match.group(), line)
        line += match.group().count("\n")
        at = match.end()


def _expect(tokens: list[Token], at: int, kind: str) -> str:
    if at >= len(tokens) or tokens[at].kind != kind:
        last = tokens[min(at, len(tokens) - 1)]
        raise _syntax(last.line, last.text)
    return tokens[at].text


def _read_value(tokens: list[Token], at: int, depth: int = 0) -> tuple[Any, int]:
    if at >= len(tokens):
        raise _syntax(tokens[-1].line, "end of file")
    token = tokens[at]
    if token.kind == "number":
        return Number(token.text), at + 1
    if token.kind == "string":
        return _unquote(token), at + 1
    if token.text == "[" and depth < DEEPEST:
        return _read_list(tokens, at + 1, depth + 1)
    raise _syntax(token.line, token.text)


def _read_list(tokens: list[Token], at: int, depth: int) -> tuple[list[Any], int]:
    items: list[Any] = []
    at = _skip_newlines(tokens, at)
    while at < len(tokens) and tokens[at].text != "]":
        value, at = _read_value(tokens, at, depth)
        items.append(value)
        at = _skip_newlines(tokens, at)
        if at < len(tokens) and tokens[at].text == ",":
            at = _skip_newlines(tokens, at + 1)
        elif at < len(tokens) and tokens[at].text != "]":
            raise _syntax(tokens[at].line, tokens[at].text)
    if at >= len(tokens):
        raise _syntax(tokens[-1].line, "end of file")
    return items, at + 1


def _skip_newlines(tokens: list[Token], at: int) -> int:
    while at < len(tokens) and tokens[at].text == "\n":
        at += 1
    return at


def _unquote(token: Token) -> str:
    def plain(match: re.Match[str]) -> str:
        if match.group(1) not in UNESCAPES:
            raise _syntax(token.line, match.group())
        return UNESCAPES[match.group(1)]

    return re.sub(r"\\(.)", plain, token.text[1:-1])


def _append(old: Any, new: Any, line: int) -> Any:
    """'+=' joins lists, and strings (libxlu_cfg.c, 4.13); numbers added are a warning to xl, which then has neither."""
    numbers = isinstance(old, Number) and isinstance(new, Number)
    if numbers or (old is not None and isinstance(old, list) != isinstance(new, list)):
        raise _syntax(line, "+=")
    return [*(old or []), *new] if isinstance(new, list) else Added((old or "") + new)


def _syntax(line: int, text: str) -> XenError:
    return XenError(
        "cfg_syntax",
        f"line {line}: xl cannot read {text!r} here",
        {"line": line, "text": text},
        "see xl.cfg(5); `xl create -n FILE` on a Xen host shows the same",
    )
