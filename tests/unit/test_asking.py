# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts asked through Ansible itself: no Xen here, but Ansible's own processes, connections and vaults."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from ansible_collections.stubdom.xen.plugins.plugin_utils.asking import ASKING, Answers, NotAsked, Question, ask, asking

PING = "ansible.builtin.ping"
HANGING, DEAF_CHILD = "86421", "86422"  # seconds that nobody waits for: numbers that find a process among the others
HANGS = f"#!/bin/sh\nexec sleep {HANGING}\n"  # an ssh that connects for ever


@pytest.fixture
def told(tmp_path, monkeypatch):
    """Writes an inventory; returns a question about its hosts."""
    monkeypatch.setenv("ANSIBLE_CONFIG", str(tmp_path / "ansible.cfg"))
    (tmp_path / "ansible.cfg").write_text("[defaults]\ninterpreter_python = auto_silent\n", encoding="utf-8")
    ssh = tmp_path / "ssh"
    ssh.write_text(HANGS, encoding="utf-8")
    ssh.chmod(0o755)

    def question(lines, **more):
        hosts = tmp_path / "hosts"
        here = f"ansible_connection=local ansible_python_interpreter={os.sys.executable}"
        text = lines.replace("LOCAL", here).replace("HANGS", f"ansible_connection=ssh ansible_ssh_executable={ssh}")
        hosts.write_text(text, encoding="utf-8")
        return Question(**{"sources": [str(hosts)], "pattern": "all", "module": PING, "forks": 5, "timeout": 60, **more})

    return question


def running(seconds):
    return subprocess.run(["pgrep", "-f", f"sleep {seconds}"], capture_output=True, text=True, check=False).stdout.split()


def test_each_host_has_its_result(told):
    answers = ask(told("one LOCAL\ntwo LOCAL\nthree LOCAL\n"), ["one", "three"])
    assert {host: result["ping"] for host, result in answers.results.items()} == {"one": "pong", "three": "pong"}
    assert answers.failures == {}


def test_who_hangs_costs_his_own_time_and_no_other_his_answer(told):
    began = time.monotonic()
    answers = ask(told("one LOCAL\ndead HANGS\ntwo LOCAL\n", timeout=15), ["one", "dead", "two"])
    assert set(answers.results) == {"one", "two"}
    assert set(answers.failures) == {"dead"} and "15 second" in answers.failures["dead"]
    assert time.monotonic() - began >= 15
    assert running(HANGING) == [], "nothing goes on behind it"


def test_who_cannot_be_reached_and_who_fails(told):
    text = "away ansible_host=127.0.0.1 ansible_port=1\nbad ansible_connection=local ansible_python_interpreter=/nowhere/python\n"
    failures = ask(told(text), ["away", "bad"]).failures
    assert failures["away"].startswith("cannot be reached: ") and "refused" in failures["away"]
    assert failures["bad"].startswith("failed: ")


def test_a_connection_that_no_time_limit_ends(told, tmp_path):
    """Its process is ended; who had no turn behind it is asked by another one."""
    plugins = tmp_path / "connection_plugins"
    plugins.mkdir()
    (plugins / "deaf.py").write_text(DEAF, encoding="utf-8")
    (tmp_path / "ansible.cfg").write_text(f"[defaults]\nconnection_plugins = {plugins}\n", encoding="utf-8")
    question = told("deaf ansible_connection=deaf\none LOCAL\ntwo LOCAL\n", forks=1, timeout=10)
    answers = ask(question, ["deaf", "one", "two"])
    assert answers.failures == {"deaf": "gave no answer within 10 s"}
    assert set(answers.results) == {"one", "two"}
    assert running(DEAF_CHILD) == []


DEAF = f'''
DOCUMENTATION = """
name: deaf
short_description: one that goes on for ever
description: [it]
options: {{}}
"""
import subprocess
from ansible.plugins.connection import ConnectionBase
class Connection(ConnectionBase):
    transport = "deaf"
    def _connect(self):
        return self
    def exec_command(self, cmd, in_data=None, sudoable=True):
        with subprocess.Popen(["sleep", "{DEAF_CHILD}"]) as child:
            child.wait()
    def put_file(self, in_path, out_path): ...
    def fetch_file(self, in_path, out_path): ...
    def close(self): ...
'''


def test_the_secrets_of_open_vaults_go_along(told, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("sesame", encoding="utf-8")
    (tmp_path / "plain").write_text("open", encoding="utf-8")
    command = ["ansible-vault", "encrypt_string", "--vault-id", f"lab@{secret}", "--name", "ansible_python_interpreter"]
    made = subprocess.run([*command, os.sys.executable], capture_output=True, text=True, check=True).stdout
    secret.unlink()
    (tmp_path / "host_vars").mkdir()
    (tmp_path / "host_vars" / "one.yml").write_text(made, encoding="utf-8")
    text = "one ansible_connection=local\n"
    assert set(ask(told(text, vaults=[("lab", b"sesame")]), ["one"]).results) == {"one"}
    assert set(ask(told(text), ["one"]).failures) == {"one"}


def test_ansible_that_does_not_start_says_why(told):
    with pytest.raises(NotAsked, match="nobody"):
        ask(told("one LOCAL\n", pattern="nobody"), ["one"])


def test_other_callbacks_and_secrecy_do_not_hide_what_is_said(told, monkeypatch):
    monkeypatch.setenv("ANSIBLE_NO_LOG", "1")
    monkeypatch.setenv("ANSIBLE_STDOUT_CALLBACK", "oneline")
    monkeypatch.setenv("ANSIBLE_VERBOSITY", "3")
    assert ask(told("one LOCAL\n"), ["one"]).results["one"]["ping"] == "pong"


def test_asking_is_told_to_those_who_read_the_sources():
    with asking():
        assert os.environ[ASKING]
    assert ASKING not in os.environ
    assert not Answers().of("one")
