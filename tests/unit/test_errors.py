# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""errors.py: the result of a failure, the codes that are in use, and text that a hostile guest wrote."""

from __future__ import annotations

import ast
import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.stubdom.xen.plugins.module_utils.errors import CODES, XenError, printable

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ROOT / "plugins"
RUNS = ("unit", "contract")  # directories of tests in which the engine runs


@pytest.mark.parametrize(
    ("evidence", "hint", "expected"),
    [
        (None, None, {}),
        ("", "", {}),
        ([], None, {}),
        ("QEMU exited 1", None, {"evidence": "QEMU exited 1"}),
        (0, "start it", {"evidence": 0, "hint": "start it"}),
        ({"path": "/a"}, None, {"evidence": {"path": "/a"}}),
    ],
)
def test_as_result_leaves_out_what_is_empty(evidence, hint, expected):
    error = XenError("xenstore_lost", "gone", evidence, hint)
    assert error.as_result() == {"code": "xenstore_lost", "msg": "gone", **expected}
    assert (str(error), error.evidence, error.hint) == ("gone", evidence, hint)


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("plain", 10, "plain"),
        ("a\tb\nc", 10, "a\tb\nc"),
        ("line\r\nline\r\n", 20, "line\nline\n"),
        ("hidden\rshown", 20, "hidden\ufffdshown"),
        ("\x1b[2J\x1b]0;root\x07", 20, "\ufffd[2J\ufffd]0;root\ufffd"),
        ("\x9b31mC1\x85", 20, "\ufffd31mC1\ufffd"),
        ("\u202eevil\u202c \u2066x\u2069", 20, "\ufffdevil\ufffd \ufffdx\ufffd"),
        ("zero\u200bwidth\ufeff", 20, "zero\ufffdwidth\ufffd"),
        ("a\u2028b\u2029c", 20, "a\ufffdb\ufffdc"),
        ("nul\0 del\x7f", 20, "nul\ufffd del\ufffd"),
        ("lone\udcff", 20, "lone\ufffd"),
        ("Grüße 漢字", 20, "Grüße 漢字"),
        (b"bytes \xff \xc3\xbc", 20, "bytes \\xff ü"),
        ("0123456789", 10, "0123456789"),
        ("0123456789", 9, "…23456789"),
        ("0123456789", 1, "…"),
        ("0123456789", 0, ""),
        ("", 5, ""),
    ],
)
def test_printable(text, limit, expected):
    assert printable(text, limit) == expected


@given(st.text(st.characters()), st.integers(0, 40))
def test_printable_is_short_showable_and_stable(text, limit):
    shown = printable(text, limit)
    assert len(shown) <= limit
    assert not {unicodedata.category(c) for c in shown if c not in "\n\t"} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert printable(shown, limit) == shown
    assert json.loads(json.dumps(shown, ensure_ascii=False).encode()) == shown


def raised_codes():
    """(file:line, code) of each code that is written where an error is made in plugins/."""
    for path in sorted(PLUGINS.rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and ast.unparse(call.func).rsplit(".", maxsplit=1)[-1] in ("XenError", "failure"):
                choice = call.args[0]
                for code in (choice.body, choice.orelse) if isinstance(choice, ast.IfExp) else (choice,):
                    if isinstance(code, ast.Constant):
                        yield f"{path.relative_to(PLUGINS)}:{call.lineno}", code.value


def test_every_code_in_use_is_in_the_table():
    unknown = [(where, code) for where, code in raised_codes() if code not in CODES]
    assert not unknown, "add these to CODES in errors.py"


def test_every_code_in_the_table_is_in_use():
    assert sorted(set(CODES) - {code for _where, code in raised_codes()}) == [], "nothing raises these"


def seen_codes():
    """(code, file:line) of each code that a test expects of a run: in an assertion, or in a table whose file asserts codes."""
    for path in sorted(path for name in RUNS for path in (ROOT / "tests" / name).rglob("*.py") if path != Path(__file__)):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        asserts = [node for node in ast.walk(tree) if isinstance(node, ast.Assert)]
        judges_codes = any(told_code(node) for assertion in asserts for node in ast.walk(assertion))
        tables = [node for node in tree.body if isinstance(node, ast.Assign)] if judges_codes else []
        tables += [mark for node in tree.body if judges_codes for mark in getattr(node, "decorator_list", ())]
        for node in (node for found in (*asserts, *tables) for node in ast.walk(found)):
            if isinstance(node, ast.Constant) and node.value in CODES:
                yield node.value, f"{path.relative_to(ROOT)}:{node.lineno}"


def told_code(node):
    """Whether this is the code of a failure: error.code, result["code"], code_of(call)."""
    named = isinstance(node, ast.Attribute) and node.attr == "code"
    keyed = isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and node.slice.value == "code"
    return named or keyed or (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "code_of")


def test_every_code_comes_out_of_a_run_in_some_test():
    """That each is documented, tests/unit/test_docs_tables.py holds."""
    assert sorted(set(CODES) - {code for code, _where in seen_codes()}) == [], "no test sees a run end with these"


def test_the_table_is_fit_for_the_documentation():
    for code, sentence in CODES.items():
        assert code.isidentifier() and code.islower()
        assert sentence[0].isupper() or sentence.split()[0] in ("xl", "libxl", "xenstored"), sentence
        assert sentence.endswith(".") and "\n" not in sentence


def raised():
    """(file and line, arguments) of every XenError that the plugins make."""
    for path in sorted(PLUGINS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "XenError":
                yield f"{path.name}:{node.lineno}", node


def test_every_error_says_what_was_seen_and_what_to_do():
    bare = []
    for place, call in raised():
        given = {name for name, _value in zip(("code", "msg", "evidence", "hint"), call.args)}
        given |= {keyword.arg for keyword in call.keywords}
        bare += [(place, missing) for missing in ("evidence", "hint") if missing not in given]
    assert bare == []
