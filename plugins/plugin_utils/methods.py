# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The ways in which a guest can go from one host to another, and what rules each out, as a table. Pure.

A way is judged by what the guest is and has (leaving.offer) and what the other host is (arriving.accept).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable, NamedTuple, Optional

METHODS = ("live", "saved", "halt")  # best first: it runs on, it runs on where it was, it starts anew


class Case(NamedTuple):
    """What is known when a way is chosen."""

    offer: Mapping[str, Any]
    target: Mapping[str, Any]
    ssh: bool

    @property
    def runs(self) -> bool:
        return str(self.offer["power"]) == "running"

    @property
    def type(self) -> str:
        return str(self.offer["kind"]["type"])


class Row(NamedTuple):
    """bars: the ways that are out where the row holds. why: a text, or a function of the case."""

    bars: tuple[str, ...]
    holds: Callable[[Case], Any]
    why: Any


def _older(case: Case) -> bool:
    return tuple(case.target["host"]["version"]) < tuple(case.offer["host"]["version"])


def missing_features(case: Case) -> bool:
    """Whether the other host's CPU lacks what this one's has: hw_caps of `xl info`, words of bits in hex."""
    here, there = (_words(host["host"]["hw_caps"]) for host in (case.offer, case.target))
    return any(mine & ~(there[i] if i < len(there) else 0) for i, mine in enumerate(here))


def _words(caps: str) -> list[int]:
    return [int(word, 16) for word in caps.split(":") if word]


def _no_shadow(case: Case) -> bool:
    return case.type == "pv" and "shadow" not in case.offer["host"]["virt_caps"]


def _unwaited(case: Case) -> bool:
    """Whether xl there may let the guest run before its QEMU is there: the path on which that reports is right since 4.6."""
    return tuple(case.target["host"]["version"]) < (4, 6)


MEMORY = ("live", "saved")
ROWS = (
    Row(METHODS, lambda c: c.offer["passed_through"], "a device of this host is passed through to it"),
    Row(("live",), lambda c: not c.runs, lambda c: f"it is {c.offer['power']}"),
    Row(("saved",), lambda c: c.offer["power"] == "halted", "it is halted: it has no memory"),
    Row(("halt",), lambda c: c.offer["power"] == "saved", "it is saved, and its memory would be lost"),
    Row(MEMORY, lambda c: c.offer["unsaveable"], lambda c: c.offer["unsaveable"]),
    Row(MEMORY, _older, "the other host's Xen is older: memory goes to the same or a newer one only"),
    Row(MEMORY, missing_features, "the other host's CPU lacks features that this one's has (`hw_caps` of `xl info`)"),
    Row(("saved",), lambda c: c.target["cannot_restore"], lambda c: c.target["cannot_restore"]),
    Row(("live",), lambda c: c.offer["kind"]["stubdom"] != "none",
        "its device model is in a stubdomain: xl gives up this host's domain before its chain there was seen to hold"),
    Row(("live",), lambda c: c.offer["leans"], "another domain serves one of its devices, and xl does not wait for that one"),
    Row(("live",), _unwaited, "the other host's Xen is older than 4.6, whose xl does not wait for QEMU as it should"),
    Row(("live",), _no_shadow,
        "Xen sees what a pv guest writes by shadow paging only, and this Xen was built without (`virt_caps` of `xl info`)"),
    Row(("live",), lambda c: not c.ssh, "no way from host to host is given (`ssh`)"),
)  # fmt: skip


def bars(case: Case) -> dict[str, str]:
    """way -> why it is out; the first reason that the table has."""
    found: dict[str, str] = {}
    for row in ROWS:
        if row.holds(case):
            found.update({way: _text(row.why, case) for way in row.bars if way not in found})
    return found


def _text(why: Any, case: Case) -> str:
    return str(why(case) if callable(why) else why)


def choose(case: Case, wish: str = "auto") -> tuple[Optional[str], dict[str, str]]:
    """(the way, why others are out). The way is None where there is none, or the wished one is out."""
    out = bars(case)
    possible = [way for way in METHODS if way not in out and wish in ("auto", way)]
    return (possible[0] if possible else None), out
