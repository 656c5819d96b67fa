# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is a secret, by the names that a guest's options and libxl's places have, and what stands in its place. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Optional

MASK = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"  # Ansible's own word for what it hides
SECRET_PART = re.compile(r"(passwd=)([^,]*)")  # in values such as vfb = ["vnc=1,vncpasswd=..."]


def is_secret(option: str) -> bool:
    """Whether an option, an xl.cfg key or a path in libxl's JSON holds a password, by its name."""
    return "passw" in option


def secrets_in(value: Any, key: str = "") -> Iterator[str]:
    """The secrets in a value of extra_config, and in those below it. key: of xl.cfg, that has it."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from secrets_in(item, str(name))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from secrets_in(item, key)
    elif is_secret(key):
        yield str(value)
    elif isinstance(value, str):
        yield from (match[2] for match in SECRET_PART.finditer(value))


def masked_at(value: Any, option: str = "") -> Optional[str]:
    """The first option of a description that has the mask of a result in it, by its dotted name; None for one without."""
    if isinstance(value, Mapping):
        found = (masked_at(item, f"{option}.{name}" if option else str(name)) for name, item in value.items())
    elif isinstance(value, (list, tuple)):
        found = (masked_at(item, f"{option}[{i}]") for i, item in enumerate(value))
    else:
        return option if MASK in str(value) else None
    return next((place for place in found if place is not None), None)


def hidden(field: str, value: Any) -> Any:
    """The value, masked if the field is a secret one; of a key without an option, also where a secret is a part of it."""
    if is_secret(field):
        return MASK
    if isinstance(value, Mapping):
        return {key: hidden(f"{field}.{key}", item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [hidden(field, item) for item in value]
    if isinstance(value, str) and field.startswith("extra_config"):
        return SECRET_PART.sub(rf"\g<1>{MASK}", value)
    return value
