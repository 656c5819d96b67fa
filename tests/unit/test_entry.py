# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a module ends: with a result, with a coded failure, and with one too for what nobody foresaw."""

from __future__ import annotations

import pytest

from ansible_collections.stubdom.xen.plugins.module_utils.entry import answer
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError


class Ended(BaseException):
    """What SystemExit is to AnsibleModule: the module's end."""


class Module:
    """As much of AnsibleModule as ends one."""

    def exit_json(self, **result):
        raise Ended({"failed": False, **result})

    def fail_json(self, **result):
        raise Ended({"failed": True, **result})


async def good(_host):
    return {"changed": False}


async def one_of_many_failed(_host):
    return {"changed": True, "failed": True, "code": "not_ready"}


async def refused(_host):
    raise XenError("not_ready", "it was not", {"domid": 3}, "wait")


async def mistaken(_host):
    return {}["\x1b[2J"]


@pytest.mark.parametrize(
    ("work", "told"),
    [
        (good, {"failed": False, "changed": False}),
        (one_of_many_failed, {"failed": True, "changed": True, "code": "not_ready"}),
        (refused, {"failed": True, "code": "not_ready", "msg": "it was not", "evidence": {"domid": 3}, "hint": "wait"}),
    ],
)
def test_the_end_of_a_module(work, told):
    with pytest.raises(Ended) as end:
        answer(Module(), work)
    assert end.value.args[0] == told


def test_what_nobody_foresaw_is_a_failure_with_its_place_and_no_traceback():
    with pytest.raises(Ended) as end:
        answer(Module(), mistaken)
    told = end.value.args[0]
    assert (told["failed"], told["code"]) == (True, "unforeseen")
    assert told["msg"].startswith("KeyError") and "\x1b" not in told["msg"]
    assert told["evidence"]["at"][-1].startswith("test_entry.py:") and told["hint"]
