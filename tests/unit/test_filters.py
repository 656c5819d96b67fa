# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""xl.cfg to options and back, over a corpus of files as people write them; tests/contract/test_corpus.py asks xl of the same.

corpus/*.cfg are read; what is in each, its first line says. corpus/refused.yml are texts that are not.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from generated import sensible_guests
from hypothesis import given

from ansible_collections.stubdom.xen.plugins.filter import from_xl_cfg as reading
from ansible_collections.stubdom.xen.plugins.filter import to_xl_cfg as writing
from ansible_collections.stubdom.xen.plugins.filter.from_xl_cfg import from_xl_cfg
from ansible_collections.stubdom.xen.plugins.filter.to_xl_cfg import to_xl_cfg
from ansible_collections.stubdom.xen.plugins.module_utils import rules, xlcfg
from ansible_collections.stubdom.xen.plugins.module_utils.arguments import GUEST
from ansible_collections.stubdom.xen.plugins.module_utils.spec import from_options, to_options

ROOT = Path(__file__).resolve().parents[2]
CORPUS = Path(__file__).parent / "corpus"
TEXTS = {path.stem: path.read_text(encoding="utf-8") for path in sorted(CORPUS.glob("*.cfg"))}
REFUSED = {row["case"]: row for row in yaml.safe_load((CORPUS / "refused.yml").read_text(encoding="utf-8"))}

every_text = pytest.mark.parametrize("name", TEXTS)


@every_text
def test_a_file_says_what_it_is_about(name):
    assert re.match(r"# [A-Z].*[.]\n", TEXTS[name])


@every_text
def test_written_anew_it_says_the_same(name):
    guest = xlcfg.read(TEXTS[name])
    assert xlcfg.read(xlcfg.render(guest)) == guest


@every_text
def test_its_options_are_valid_input_of_the_module(name):
    judged = ArgumentSpecValidator(GUEST).validate(from_xl_cfg(TEXTS[name]))
    assert judged.error_messages == []
    guest = from_options(judged.validated_parameters)
    rules.check(guest)
    assert to_options(guest) == from_xl_cfg(TEXTS[name])


@every_text
def test_its_options_come_back(name):
    options = from_xl_cfg(TEXTS[name])
    assert from_xl_cfg(to_xl_cfg(options)) == options


@every_text
def test_its_options_are_plain_data(name):
    """As YAML and JSON have them: nothing of them is a class of the engine's."""
    options = from_xl_cfg(TEXTS[name])
    assert json.loads(json.dumps(options)) == options == yaml.safe_load(yaml.safe_dump(options))


@given(sensible_guests())
def test_options_written_are_the_options_read(guest):
    options = to_options(guest)
    assert from_xl_cfg(to_xl_cfg(options)) == options


# --- what is in the corpus, and what it means

# A file of the corpus, and a part of what it says.
MEANS = {
    "pv-kernel": {
        "uuid": "5e1a3b80-7c4d-4f1e-9a55-0c3d2b6e7f10", "extra_config": {"root": "/dev/xvda1", "extra": "ro console=hvc0"},
    },
    "hvm-builder": {"type": "hvm"},
    "hvm-linux-stubdom": {"stubdom": {
        "type": "linux", "memory": "192MiB", "cmdline": "console=hvc0 quiet", "seclabel": "system_u:system_r:domU_t",
        "kernel": "/usr/lib/xen/boot/qemu-stubdom-linux-kernel", "ramdisk": "/usr/lib/xen/boot/qemu-stubdom-linux-rootfs",
    }},
    "hvm-minios-stubdom": {"stubdom": {"type": "minios"}, "memory": "512MiB"},
    "quotes": {"cmdline": "title=\"it's\" path=C:\\boot tab=\t vt=\v bell=\a back=\b feed=\f cr=\r end=\n"},
    "comments": {"memory": "256MiB", "cmdline": "a # b", "nics": []},
    "semicolons": {"vcpus": 2, "on_crash": "restart"},
    "added": {"name": "added", "memory": "768MiB", "cmdline": "root=/dev/xvda ro loglevel=3", "nics": [{"bridge": "xenbr0"}]},
    "numbers": {"memory": "512MiB", "max_memory": "1GiB", "vcpus": 2, "max_vcpus": 4, "cmdline": "0x1f", "cpus": "0"},
    "cpus-list": {"extra_config": {"cpus": ["0", 1, "0-1,^1"], "cpus_soft": ["0", "all"]}},
    "serial-ports": {"extra_config": {
        "serial": ["pty", "unix:/run/ports-console.sock,server,nowait", "null"], "usbdevice": ["tablet", "mouse"],
    }},
}  # fmt: skip


@pytest.mark.parametrize("name", MEANS)
def test_what_a_file_says(name):
    options = from_xl_cfg(TEXTS[name])
    assert {key: options[key] for key in MEANS[name]} == MEANS[name]


def test_drives_without_a_disc_have_no_target():
    empty = [disk["vdev"] for disk in from_xl_cfg(TEXTS["cdroms"])["disks"] if "target" not in disk]
    assert empty == ["hde", "hdf", "hdg", "hdh", "hdi", "hdj", "hdk", "hdl"]
    assert {disk["devtype"] for disk in from_xl_cfg(TEXTS["cdroms"])["disks"]} == {"cdrom"}


@pytest.mark.parametrize(("name", "count"), [("disks-by-place", 12), ("disks-with-prefix", 14), ("disks-by-key", 13)])
def test_every_disk_has_its_name_in_the_guest_and_its_target(name, count):
    disks = from_xl_cfg(TEXTS[name])["disks"]
    assert len(disks) == count == len({disk["vdev"] for disk in disks})
    assert all(not re.match("[a-z0-9]+:/", disk["target"]) for disk in disks), "a prefix is no part of a target"


def test_a_text_without_a_name_gives_options_without_one():
    assert from_xl_cfg("memory = 256\n") == {"memory": "256MiB"}


def test_a_lookup_takes_the_last_line_end_away():
    assert from_xl_cfg("name = 'web1'\n# the end") == {"name": "web1"}


def test_a_file_written_is_nobodys_yet():
    assert to_xl_cfg({"name": "web1"}) == 'name = "web1"\n'


def test_what_a_task_may_do_is_in_no_file():
    policy = {"state": "halted", "disruption": "reboot", "ready": {"timeout": 5}, "autostart": True}
    assert to_xl_cfg({"name": "web1", "memory": "1GiB", **policy}) == 'name = "web1"\nmemory = 1024\n'


def test_options_are_read_as_ansible_reads_them():
    """A template makes texts of numbers, and inventories say yes."""
    text = to_xl_cfg({"name": "web1", "vcpus": "2", "vnc": {"enabled": "yes"}, "disks": [{"vdev": "xvda", "options": "discard"}]})
    assert text == 'name = "web1"\nvcpus = 2\nvnc = 1\ndisk = ["vdev=xvda,discard"]\n'


def test_paths_are_the_hosts(monkeypatch):
    monkeypatch.setenv("HERE", "/controller")
    assert 'kernel = "~/$HERE/vmlinuz"' in to_xl_cfg({"name": "web1", "kernel": "~/$HERE/vmlinuz"})


# --- what is refused


@pytest.mark.parametrize("case", REFUSED)
def test_what_xl_refuses_is_refused(case):
    line = REFUSED[case].get("line")
    with pytest.raises(AnsibleFilterError) as refused:
        from_xl_cfg(REFUSED[case]["text"])
    assert re.findall(r"^from_xl_cfg: line (\d+): ", str(refused.value)) == ([str(line)] if line else [])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name = '42'\n", "not all digits"),
        ("memory = 'much'\n", "memory: xl makes nothing of 'much'"),
        ("memory += '512'\n", "memory: xl makes nothing of '512'"),
        ("type = 'pv'\nvnc = 1\n", "virtual frame buffer"),
        ("disk = [ 'vdev=xvda,target=/dev/a', 'vdev=xvda,target=/dev/b' ]\n", "every vdev once"),
        ("disk = [ 'vdev=xvda,colour=red,access=ro,none' ]\ntype = 'xl'\n", "value of type must be one of: pv, pvh, hvm"),
    ],
)
def test_what_the_module_would_refuse_is_refused(text, said):
    with pytest.raises(AnsibleFilterError) as refused:
        from_xl_cfg(text)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "missing required arguments: name"),
        ({"name": "web1", "stubdomm": {"type": "linux"}}, "stubdomm. Supported parameters include"),
        ({"name": "web1", "memory": "512"}, "write 512MiB"),
        ({"name": "web1", "vcpus": "two"}, "vcpus"),
        ({"name": "web1", "disks": [{"target": "/dev/a"}]}, "missing required arguments: vdev"),
        ({"name": "web1", "extra_config": {"memory": 512}}, "use the option"),
        ({"name": "web1", "cmdline": "a\0b"}, "no way to write one"),
    ],
)
def test_options_that_the_module_would_refuse_are_refused(options, said):
    with pytest.raises(AnsibleFilterError, match=r"^to_xl_cfg: ") as refused:
        to_xl_cfg(options)
    assert said in str(refused.value)


@pytest.mark.parametrize("wrong", [None, 3, b"name = 'x'\n", ["name = 'x'"], {"name": "x"}])
def test_what_is_no_text_is_refused(wrong):
    with pytest.raises(AnsibleFilterError, match="wanted the text"):
        from_xl_cfg(wrong)


@pytest.mark.parametrize("wrong", [None, 3, "name", [{"name": "x"}]])
def test_what_are_no_options_is_refused(wrong):
    with pytest.raises(AnsibleFilterError, match="wanted the options"):
        to_xl_cfg(wrong)


def test_a_password_is_in_no_message():
    with pytest.raises(AnsibleFilterError) as refused:
        to_xl_cfg({"name": "web1", "vnc": {"password": "hunter\0two"}})
    assert "hunter" not in str(refused.value)


# --- in a playbook

PLAY = """\
- hosts: all
  gather_facts: false
  connection: local
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
    by_hand: "{{ lookup('ansible.builtin.file', path) }}"
    read: "{{ by_hand | stubdom.xen.from_xl_cfg }}"
  tasks:
    - name: Both ways, with something changed in between
      ansible.builtin.copy:
        content: "{{ read | combine({'memory': (2 * 256) ~ 'MiB', 'vcpus': 1 + 1}) | stubdom.xen.to_xl_cfg }}"
        dest: "{{ made }}"
        mode: "0600"
    - name: Each item of a list
      ansible.builtin.assert:
        that: "[by_hand, by_hand] | map('stubdom.xen.from_xl_cfg') | map(attribute='name') | unique == ['comments']"
    - name: What xl refuses
      ansible.builtin.debug:
        msg: "{{ 'name = 1\\nmemory = 5M' | stubdom.xen.from_xl_cfg }}"
      register: refused
      ignore_errors: true
    - name: Told with its line
      ansible.builtin.assert:
        that: "'line 2: xl cannot read' in refused.msg"
"""


def test_in_a_playbook(tmp_path):
    (tmp_path / "play.yml").write_text(PLAY, encoding="utf-8")
    given = {"path": str(CORPUS / "comments.cfg"), "made": str(tmp_path / "made.cfg")}
    command = [Path(sys.executable).parent / "ansible-playbook", "-i", "localhost,", "-e", json.dumps(given), "play.yml"]
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache" / "collections"), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    wanted = {**from_xl_cfg(TEXTS["comments"]), "memory": "512MiB", "vcpus": 2}
    assert from_xl_cfg((tmp_path / "made.cfg").read_text(encoding="utf-8")) == wanted


def test_the_filters_have_the_documented_names():
    for module, function in ((reading, from_xl_cfg), (writing, to_xl_cfg)):
        name = yaml.safe_load(module.DOCUMENTATION)["name"]
        assert module.FilterModule().filters() == {name: function}
