# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How `make demo` finds out that its second run changed something: Ansible is really run, on tasks that do and do not."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLAY = """\
- hosts: all
  gather_facts: false
  connection: local
  tasks:
    - name: leaves all alone
      ansible.builtin.command: "true"
      changed_when: false
    - name: changes for one of its items
      ansible.builtin.command: "true"
      changed_when: item == 2
      loop: [1, 2]
    - name: is skipped
      ansible.builtin.command: "true"
      when: false
"""


@pytest.fixture
def demo(tmp_path):
    """tests/demo.py, with its report in a directory of the test."""
    spec = importlib.util.spec_from_file_location("demo", ROOT / "tests" / "demo.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.REPORT = tmp_path
    return module


def test_a_task_that_changed_something_is_named(demo, tmp_path):
    (tmp_path / "old.xml").write_text("<testsuites/>", encoding="utf-8")
    (tmp_path / "play.yml").write_text(PLAY, encoding="utf-8")
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "ANSIBLE_PYTHON_INTERPRETER": sys.executable, **demo._reporting()}
    program = Path(sys.executable).parent / "ansible-playbook"
    subprocess.run([program, "-i", "here,", tmp_path / "play.yml"], env=environment, stdout=subprocess.DEVNULL, check=True)

    changed = demo._changes(tmp_path)
    assert [name.rpartition(": ")[2] for name in changed] == ["changes for one of its items"]
    with pytest.raises(SystemExit, match="changes for one of its items"):
        demo._nothing_changed(changed)


LAB = """\
xen:
  children:
    xen_embedded:
xen_embedded:
  hosts:
    xen1:
      ansible_host: 127.0.0.1
      ansible_port: 2222
      ansible_ssh_private_key_file: /lab/id_ed25519
  vars:
    ansible_user: root
"""
OWN = "xen:\n  hosts:\n    xen1.example.org:\n"


@pytest.mark.parametrize(
    ("inventory", "command"),
    [
        (LAB, "ssh -i /lab/id_ed25519 -p 2222 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null root@127.0.0.1"),
        (OWN, "ssh root@xen1.example.org"),
    ],
    ids=["the lab's", "one's own"],
)
def test_the_way_into_the_first_host_of_an_inventory(demo, tmp_path, monkeypatch, inventory, command):
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    (tmp_path / "inventory.yml").write_text(inventory, encoding="utf-8")
    assert demo._ssh(tmp_path / "inventory.yml") == command


def test_a_run_that_left_no_report_is_no_proof(demo, tmp_path):
    with pytest.raises(SystemExit, match="no report"):
        demo._changes(tmp_path)


def test_a_run_without_changes_is_one(demo, capsys):
    demo._nothing_changed([])
    assert "changed=0" in capsys.readouterr().out
