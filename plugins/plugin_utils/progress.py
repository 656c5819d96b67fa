# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a task on a Xen host waits for, as lines for the person who waits: what is said, and when it is worth saying.

A host's word is not believed here: what is not of the shape that is expected is passed over, texts are cut and stripped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Optional

from ansible_collections.stubdom.xen.plugins.module_utils.errors import printable
from ansible_collections.stubdom.xen.plugins.module_utils.progress_file import DIRECTORY

AGAIN = 10.0  # seconds after which the same is said once more
OTHERS = 3  # guests that are named beside the one that waits longest
NUMBER_MAX = 1e9
READ_MAX = 65536  # characters of an answer that are looked at


def command(token: str) -> str:
    """A shell's command that prints the file of that task, if there is one, and the host's clock."""
    return f"cat {DIRECTORY}/progress.{token}.* /proc/uptime 2>/dev/null"


def understood(answer: str) -> Optional[tuple[dict[str, Any], float]]:
    """What the command printed, as (dict as progress.Told.shown() makes it, seconds since it was written); None: nothing."""
    lines = [line.strip() for line in answer[:READ_MAX].splitlines()]
    try:
        told = json.loads(next((line for line in lines if line.startswith("{")), "null"))
        uptime = float(lines[-1].split()[0]) if lines else 0.0
        return _checked(told), _number(uptime - float(told["at"]))
    except (ValueError, TypeError, LookupError, ArithmeticError):
        return None


def _checked(told: Any) -> dict[str, Any]:
    """The same with every field of its type. Raises ValueError, TypeError, KeyError, OverflowError."""
    numbers = {key: int(_number(told[key])) for key in ("done", "of", "flying")}
    return {**numbers, "waits": [_waits(waits) for waits in told["waits"]]}


def _waits(waits: Mapping[str, Any]) -> dict[str, Any]:
    texts = {key: _text(waits[key]) for key in ("guest", "what", "who", "path", "want")}
    value = None if waits["value"] is None else _text(waits["value"])
    limit = None if waits["limit"] is None else _number(waits["limit"])
    return {**texts, "value": value, "limit": limit, "for_s": _number(waits["for_s"])}


def _number(number: Any) -> float:
    return min(max(float(number), 0.0), NUMBER_MAX)


def _text(text: Any) -> str:
    return " ".join(printable(str(text), 200).split())


def line(told: Mapping[str, Any], passed: float) -> str:
    """One line of what is waited for: who waits longest and for what, who else, and how many are done.

    told: dict of _checked(); passed: seconds since it was true. '' where nobody waits.
    """
    if not told["waits"]:
        return ""
    first, others = told["waits"][0], [waits["guest"] for waits in told["waits"][1 : OTHERS + 1]]
    more = told["flying"] - 1 - len(others)
    parts = [f"waiting for {first['guest']}: {first['what']} ({_about(first)}) {_time(first, passed)}"]
    if others:
        parts.append(f"also {', '.join(others)}{f' and {more} more' if more > 0 else ''}")
    if told["of"] > 1:
        parts.append(f"{told['done']} of {told['of']} guests done")
    return "; ".join(parts)


def _about(waits: Mapping[str, Any]) -> str:
    if not waits["path"]:
        return str(waits["who"])
    value, want = waits["value"], waits["want"]
    if value is None:
        said = "absent"
    elif value in want.split(" or ") or want == "*":
        said = f"'{value}', but not its own"
    else:
        said = f"'{value}', not '{want}'"
    return f"{waits['who']}, {waits['path']} is {said}"


def _time(waits: Mapping[str, Any], passed: float) -> str:
    limit = "" if waits["limit"] is None else f" of {waits['limit']:.0f}"
    return f"{waits['for_s'] + passed:.0f} s{limit}"


class Sayings:
    """What has been said, and so need not be said again before long. Times are seconds of any clock."""

    def __init__(self) -> None:
        self._last: Optional[dict[str, Any]] = None
        self._said = 0.0

    def heard(self, answer: str, now: float) -> str:
        """The line to say after an answer of command(); '' where there is nothing new."""
        understanding = understood(answer)
        if understanding is None:
            return ""
        told, passed = understanding
        same = {**told, "waits": [{**waits, "for_s": 0} for waits in told["waits"]]}
        if same == self._last and now - self._said < AGAIN:
            return ""
        self._last, self._said = same, now
        return line(told, passed)
