# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task tells while it waits: from the engine's data to the line that a person reads."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from simulated_host import Behaviour, SimulatedHost
from stories import HVM, STUBDOM, failure, task

from ansible_collections.stubdom.xen.plugins.module_utils.execute import converge
from ansible_collections.stubdom.xen.plugins.module_utils.guestset import converge_all
from ansible_collections.stubdom.xen.plugins.module_utils.progress import MOST, TEXT_MAX, Progress, Waits
from ansible_collections.stubdom.xen.plugins.module_utils.ready import await_ready
from ansible_collections.stubdom.xen.plugins.plugin_utils.progress import AGAIN, Sayings, command

NEVER = Behaviour(stubdom_ready=None)
READY = {"ready": {"timeout": 60.0, "retries": 0}}
TPM = {**HVM, "name": "safe", "vtpm": [{"kind": "stubdom"}], **READY}


def answer(told, now, passed=0.0):
    """What the command of the controller prints so long after it was written."""
    return f"{json.dumps({**told.shown(now), 'at': 500.0})}\n{500.0 + passed:.2f} 99.00\n"


def line(told, now, passed=0.0):
    return Sayings().heard(answer(told, now, passed), 0.0)


def told_at(host, seconds, work):
    """What a person reads so long after the beginning of the work. The work itself may fail."""
    lines = []
    host.timeline.after(seconds, lambda: lines.append(line(host.progress.now(), host.now())))
    host.together([work])
    [said] = lines
    return said


def one(guest, **options):
    return lambda host: converge(host, {**guest, **READY, **options}, check_mode=False)


def many(*described, **how):
    options = {"concurrency": 8, "continue_on_error": False, **how}
    return lambda host: converge_all(host, {"guests": list(described), **options}, False)


def ready(name):
    return lambda host: await_ready(host, {"name": name, "timeout": 60, "unpause": False}, False)


# --- what the host has to be like first


def nothing(host):
    del host


def never_ready(host):
    host.behave("vault", NEVER)


def one_of_three(host):
    for name in ("a", "b"):
        host.behave(name, NEVER)


def running(host):
    host.behave("shop", Behaviour(ignores_shutdown=True))
    task(host, HVM)


def another_task(host):
    host.locks["shop"] = "guest shop: running"
    host.timeline.after(20, lambda: host.locks.pop("shop"))


def made_by_hand(host):
    host.behave("vault", NEVER)
    host.files["/root/vault.cfg"] = 'name = "vault"\ntype = "hvm"\nmemory = 192\ndevice_model_stubdomain_override = 1\n'
    host.machine.run(["xl", "create", "-p", "/root/vault.cfg"])


def silent_tpm(host):
    host.behave("safe-vtpm", Behaviour(tpm_ready=None))


SET = [{**STUBDOM, "name": name, **READY} for name in "abc"]
CASES = {
    "a stubdomain that is not up yet": (
        nothing, one(STUBDOM), 5,
        "waiting for vault: device-model (stubdomain 2, /local/domain/2/device-model/1/state is absent) 5 s of 60",
    ),
    "a guest that does not shut down": (
        running, one({"name": "shop", "state": "halted", "shutdown": {"timeout": 90, "force": True}}), 30,
        "waiting for shop: shutdown (have the guest shut itself down) 30 s of 90",
    ),
    "another task is at work on the guest": (
        another_task, one(HVM), 7, "waiting for shop: lock (another task has it) 7 s of 180",
    ),
    "two of three guests": (
        one_of_three, many(*SET), 20,
        "waiting for a: device-model (stubdomain 4, /local/domain/4/device-model/1/state is absent) 20 s of 60;"
        " also b; 1 of 3 guests done",
    ),
    "the gate alone, and another tool that makes the guest": (
        made_by_hand, ready("vault"), 5, "waiting for vault: create (the tool that makes it is at work) 5 s of 60",
    ),
    "the domain of a guest's TPM": (
        silent_tpm, one(TPM), 9,
        "waiting for safe-vtpm: vtpm-domain (domain 1, /local/domain/1/data/vtpm-state is absent) 8 s of 60",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_is_read_while_it_waits(case):
    prepare, work, seconds, expected = CASES[case]
    host = SimulatedHost()
    prepare(host)
    assert told_at(host, seconds, work(host)) == expected


def test_when_all_is_done_nobody_waits():
    host = SimulatedHost()
    host.finish(many(*SET)(host))
    assert host.progress.now() == (3, 3, 0, ())
    assert line(host.progress.now(), host.now()) == ""


def test_a_guest_that_was_not_begun_is_not_done():
    host = SimulatedHost()
    host.behave("a", NEVER)
    host.finish(many(*SET, concurrency=1)(host))
    assert host.progress.now() == (1, 3, 0, ())


def test_guests_with_nothing_to_do_are_done_from_the_start():
    host = SimulatedHost()
    task(host, SET[0])
    host.behave("b", NEVER)
    assert told_at(host, 5, many(SET[0], SET[1])(host)).endswith("; 1 of 2 guests done")


# --- how links are told of

LINK = Waits("web", "vtpm", 0.0, 60.0, "domain 5", "/local/domain/5/x", None, "2 or 3 or 4")


@pytest.mark.parametrize(
    ("value", "want", "expected"),
    [
        (None, "running", "is absent"),
        ("", "running", "is '', not 'running'"),
        ("1", "2 or 3 or 4", "is '1', not '2 or 3 or 4'"),
        ("3", "2 or 3 or 4", "is '3', but not its own"),
        ("x", "*", "is 'x', but not its own"),
        ("a\x1b[2Jb\n\u202ec", "running", "is 'a\ufffd[2Jb \ufffdc', not 'running'"),
    ],
)
def test_what_is_there_instead(value, want, expected):
    progress = Progress()
    progress.tell("seat", lambda: LINK._replace(value=value, want=want))
    assert line(progress.now(), 14.4) == f"waiting for web: vtpm (domain 5, /local/domain/5/x {expected}) 14 s of 60"


def test_time_goes_on_while_nothing_happens():
    progress = Progress()
    progress.tell("seat", lambda: LINK)
    assert line(progress.now(), 14, passed=11).endswith(" 25 s of 60")


# --- it is never much


def crowd(number):
    progress, seats = Progress(), [object() for _number in range(number)]
    progress.begin(3, number + 3)
    for nth, seat in enumerate(seats):
        progress.tell(seat, lambda nth=nth: LINK._replace(guest=f"web{nth}", since=float(nth), value="x" * 100000))
    return progress


def test_a_thousand_guests_are_one_line():
    told = crowd(1000).now()
    said = line(told, 2000.0)
    assert said.startswith("waiting for web0: ") and said.endswith("; also web1, web2, web3 and 996 more; 3 of 1003 guests done")
    assert len(said) < 1000
    assert len(json.dumps(told.shown(2000.0))) < (MOST * 5 + 1) * (TEXT_MAX + 50)


def test_the_page_shows_such_a_line():
    page = (Path(__file__).resolve().parents[2] / "docs" / "progress.md").read_text(encoding="utf-8")
    state = "/local/domain/12/device-model/11/state"
    first = Waits("web1", "device-model", 0.0, 60.0, "stubdomain 12", state, None, "running")
    progress, seats = Progress(), [object() for _number in range(17)]
    progress.begin(3, 20)
    for nth, seat in enumerate(seats, 1):
        progress.tell(seat, lambda nth=nth: first._replace(guest=f"web{nth}", since=nth / 100))
    assert f"```text\nxen3: {line(progress.now(), 14.0)}\n```\n" in page


# --- no host is believed


def printable(text):
    return all(unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in text)


@given(st.builds(Waits, st.text(), st.text(), st.just(0.0), st.none() | st.floats(0, 1e6), *[st.text()] * 4))
def test_no_text_moves_the_cursor(waits):
    progress = Progress()
    progress.tell("seat", lambda: waits)
    assert printable(line(progress.now(), 1.0))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["guest", "what", "x"]), inner, max_size=2),
    max_leaves=4,
)
ANSWERS = st.fixed_dictionaries(dict.fromkeys(("done", "of", "flying", "waits", "at"), JSON))


@given(JSON | ANSWERS)
@example({"done": float("inf"), "of": 1, "flying": 0, "waits": [], "at": 0})
@example({"done": 1, "of": 10**4000, "flying": 0, "waits": [], "at": 0})
@example({"done": 1, "of": 1, "flying": 0, "waits": "abc", "at": 0})
@example({"done": 1, "of": 1, "flying": 0, "waits": [3], "at": "x"})
def test_whatever_a_host_answers_is_no_matter(told):
    said = Sayings().heard(f"{json.dumps(told)}\n500.00 99.00\n", 0.0)
    assert printable(said) and len(said) < 3000


@pytest.mark.parametrize("noise", ["", "\n", "500.00 99.00\n", "{\n", "{}\n", "[1]\n5 5\n", "cat: no such file\n", "{}\n5 5\n"])
def test_no_answer_is_nothing_to_say(noise):
    assert Sayings().heard(noise, 0.0) == ""


def test_what_sudo_or_a_terminal_puts_around_it_does_not_matter():
    told = crowd(1).now()
    said = answer(told, 5.0).replace("\n", "\r\n")
    assert Sayings().heard(f"\r\nWelcome\r\n{said}\r\n".replace("\r\n\r\n", "\r\n"), 0.0) == line(told, 5.0)


# --- when it is said


def test_a_change_is_said_at_once_and_the_same_again_after_a_while():
    first, second, sayings = crowd(1).now(), crowd(2).now(), Sayings()
    said = [
        bool(sayings.heard(answer(told, now), now))
        for told, now in ((first, 0.0), (first, 3.0), (second, 4.0), (second, 4.0 + AGAIN - 1), (second, 4.0 + AGAIN))
    ]
    assert said == [True, False, True, False, True]


def test_a_task_that_fails_had_told_why_it_waited():
    host = SimulatedHost()
    host.behave("vault", NEVER)
    lines = []
    host.timeline.after(25, lambda: lines.append(line(host.progress.now(), host.now())))
    failed = failure(host, STUBDOM, **READY)
    assert failed.evidence["path"] in lines[0]


def test_the_command_names_nothing_but_the_token():
    assert command("0123456789abcdef") == "cat /run/stubdom.xen/progress.0123456789abcdef.* /proc/uptime 2>/dev/null"
