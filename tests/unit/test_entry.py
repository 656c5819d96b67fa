# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a module ends: with a result, with a coded failure, with one too for what nobody foresaw, and without the secrets."""

from __future__ import annotations

import json

import pytest
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args

from ansible_collections.stubdom.xen.plugins.module_utils.entry import answer
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.modules import guest, guests


class Ended(BaseException):
    """What SystemExit is to AnsibleModule: the module's end."""


class Module:
    """As much of AnsibleModule as ends one."""

    def __init__(self):
        self.params, self.no_log_values = {}, set()

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


SECRETS = ("gehei-m1", "gehei-m2", "gehei-m3", "gehei-m4")
SECRETIVE = {
    "name": "web",
    "vnc": {"password": SECRETS[0]},
    "vfb": [{"password": SECRETS[1]}],
    "extra_config": {"spicepasswd": SECRETS[2], "more": [f"vnc=1,vncpasswd={SECRETS[3]}"], "hdtype": "ahci"},
}


@pytest.mark.parametrize(("module", "given"), [(guest, SECRETIVE), (guests, {"guests": [SECRETIVE]})], ids=["guest", "guests"])
def test_no_secret_of_a_task_is_in_its_result_or_in_the_hosts_log(module, given, monkeypatch, capsys):
    """Ansible knows those of options by itself; those of extra_config it is told. Its own module is run here."""
    logged = []

    async def tells_all(_host, options, _check_mode):
        return {"changed": False, "said": f"xl did not take {json.dumps(options)}"}

    monkeypatch.setattr(module, {guest: "converge", guests: "converge_all"}[module], tells_all)
    monkeypatch.setattr(basic.AnsibleModule, "_log_to_syslog", lambda _self, said: logged.append(said))
    monkeypatch.setattr(basic, "has_journal", False)
    with patch_module_args(given), pytest.raises(SystemExit):
        module.main()
    told = capsys.readouterr().out
    assert "xl did not take" in told and "hdtype" in told and "ahci" in told
    assert [secret for secret in SECRETS if secret in told + str(logged)] == []
