# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where a guest's three truths differ: what is desired, what its file says, what its domain has; a row a field. Pure.

Which fields differ is what the modules said, in `plan`, `pending` and `drift`: only they know when two spellings are one.
Here the three values of each of these fields are put side by side.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Optional

from ansible_collections.stubdom.xen.plugins.module_utils.spec import IDENTITY, LISTED, SIZES, format_size

DEVICE = re.compile(r"(\w+)\[(.*)\]\Z", re.S)
FILES = ("file", "autostart")  # of which a domain has nothing
NOT_FIELDS = ("state",)

Options = Optional[Mapping[str, Any]]


def differences(
    desired: Options,
    stored: Options,
    live: Options,
    plan: Sequence[Mapping[str, Any]],
    pending: Sequence[Mapping[str, Any]],
    drift: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """A dict of field, desired, stored and live for each field that differs, in the order in which it was told.

    A value is None where that truth does not speak of the field.
    """
    said = _said(plan, pending, drift)
    rows = [_row(field, told, {"desired": desired, "stored": stored, "live": live}) for field, told in said.items()]
    return [row for row in rows if row["field"] not in NOT_FIELDS]


def _said(
    plan: Iterable[Mapping[str, Any]], pending: Iterable[Mapping[str, Any]], drift: Iterable[Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Field -> what was told of it: any of desired, stored and live."""
    said: dict[str, dict[str, Any]] = {}
    for step in plan:
        if step.get("field"):
            there = "stored" if step["step"] in ("store", "autostart") else "live"
            said.setdefault(step["field"], {}).update({there: step.get("from"), "desired": step.get("to")})
    for waits in pending:
        said.setdefault(waits["field"], {}).update(live=waits.get("from"), desired=waits.get("to"))
    for differs in drift:
        told = said.setdefault(differs["field"], {})
        told.update({truth: differs[truth] for truth in ("live", "stored") if truth in differs})
    return _finest(said)


def _finest(said: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Devices one by one: a file is told as a whole list of them, a domain's devices each by its name."""
    found: dict[str, dict[str, Any]] = {}
    for field, told in said.items():
        for name, part in _devices(field, told) if field in LISTED else ((field, told),):
            found[name] = {**part, **found.get(name, {})}
    return found


def _devices(field: str, told: Mapping[str, Any]) -> Iterable[tuple[str, dict[str, Any]]]:
    by_truth = {truth: {_identity(field, d, i): d for i, d in enumerate(devices or ())} for truth, devices in told.items()}
    for name in dict.fromkeys(name for devices in by_truth.values() for name in devices):
        part = {truth: devices.get(name) for truth, devices in by_truth.items()}
        if len({str(value) for value in part.values()}) > 1:
            yield f"{field}[{name}]", part


def _identity(field: str, device: Any, place: int) -> str:
    """What compare.identity says of a device, of the dict of one."""
    named = [device.get(name) for name in IDENTITY.get(field, ())] if isinstance(device, Mapping) else []
    return ":".join(map(str, named)) if named and None not in named else str(place)


def _row(field: str, told: Mapping[str, Any], truths: Mapping[str, Options]) -> dict[str, Any]:
    values = {truth: told[truth] if truth in told else at(options, field) for truth, options in truths.items()}
    if field in FILES:
        values["live"] = None
    return {"field": field, **{truth: _sized(field, value) for truth, value in values.items()}}


def at(options: Options, field: str) -> Any:
    """The value of a field in a guest's options: ``vnc.listen``, ``disks[xvda]``. None where they do not have it."""
    device = DEVICE.match(field)
    if device:
        devices = (options or {}).get(device[1]) or ()
        return {_identity(device[1], d, i): d for i, d in enumerate(devices)}.get(device[2])
    found: Any = options
    for name in field.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _sized(field: str, value: Any) -> Any:
    """A size as people write it; `pending` has bytes."""
    return format_size(value) if field.rpartition(".")[2] in SIZES and isinstance(value, int) else value
