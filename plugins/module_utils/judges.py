# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What rules are put together from: functions that look at one option, or at every device, and tell the one at fault. Pure."""

from __future__ import annotations

import re
from typing import Any, Callable, Optional

from ansible_collections.stubdom.xen.plugins.module_utils.spec import IDENTITY, Guest, lookup

Judge = Callable[[Guest], Optional[tuple[str, Any]]]  # the offending option and value, or None


def when(option: str, bad: Callable[[Guest, Any], Any]) -> Judge:
    """A rule on one option, asked only when the option is given."""

    def judge(guest: Guest) -> Optional[tuple[str, Any]]:
        value = lookup(guest, option)
        return (option, value) if value is not None and bad(guest, value) else None

    return judge


def each(option: str, attribute: str, bad: Callable[[Guest, Any], Any]) -> Judge:
    """A rule on one attribute of every item of a list."""

    def judge(guest: Guest) -> Optional[tuple[str, Any]]:
        for i, item in enumerate(getattr(guest, option) or ()):
            value = getattr(item, attribute)
            if value is not None and bad(guest, value):
                return f"{option}[{i}].{attribute}", value
        return None

    return judge


def unique(option: str, *attributes: str) -> Judge:
    """No two items alike in all the attributes, which are those of their identity where none are named."""
    names = attributes or IDENTITY[option]

    def judge(guest: Guest) -> Optional[tuple[str, Any]]:
        values = [tuple(getattr(item, name) for name in names) for item in getattr(guest, option) or ()]
        twice = [value for value in values if None not in value and values.count(value) > 1]
        return (f"{option}.{names[-1]}", twice[0][-1]) if twice else None

    return judge


def missing(option: str, *attributes: str) -> Judge:
    def judge(guest: Guest) -> Optional[tuple[str, Any]]:
        for i, item in enumerate(getattr(guest, option) or ()):
            for attribute in attributes:
                if getattr(item, attribute) is None:
                    return f"{option}[{i}].{attribute}", None
        return None

    return judge


def items(option: str, attribute: str, bad: Callable[[Guest, Any], Any]) -> Judge:
    """A rule on the items of a list, told of one attribute."""

    def judge(guest: Guest) -> Optional[tuple[str, Any]]:
        for i, item in enumerate(getattr(guest, option) or ()):
            if bad(guest, item):
                return f"{option}[{i}].{attribute}", getattr(item, attribute)
        return None

    return judge


def outside(least: int, most: int) -> Callable[[Guest, Any], bool]:
    return lambda guest, value: not least <= value <= most


def no_word_of(*words: str) -> Callable[[Guest, Any], bool]:
    return lambda guest, value: value not in words


def unlike(pattern: re.Pattern[str]) -> Callable[[Guest, Any], bool]:
    return lambda guest, value: not pattern.match(value)
