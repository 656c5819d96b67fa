# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The xenstore client against a simulated xenstored: what it reads, what it refuses, and that every wait ends."""

from __future__ import annotations

import itertools
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import tty
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyxs.connection import UnixSocketConnection, XenBusConnection
from simulated_xenstored import HEADER, SimulatedXenstored, die_after, dribble, forge, hold, stall, stall_after

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.xenstore import Xenstore
from ansible_collections.stubdom.xen.plugins.module_utils.xsdial import places
from ansible_collections.stubdom.xen.plugins.module_utils.xsline import PIPELINED
from ansible_collections.stubdom.xen.plugins.module_utils.xswire import REPLY_MAX, pack, take_packets

SHORT = 0.2  # a limit that a test means to reach, seconds
AMPLE = 60.0  # a limit that only a hanging client reaches; the machine may be busy


@pytest.fixture
def daemon(tmp_path):
    with SimulatedXenstored(tmp_path / "socket") as running:
        yield running


@pytest.fixture
def xs(daemon):
    with client_of(daemon) as client:
        yield client


def client_of(daemon, timeout=AMPLE):
    return Xenstore(UnixSocketConnection(str(daemon.path)), timeout=timeout)


def soon():
    return time.monotonic() + AMPLE


def events(xs, count):
    return [xs.next_event(soon()) for _each in range(count)]


def open_descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def code_of(call, *args):
    with pytest.raises(XenError) as failure:
        call(*args)
    return failure.value.code


# --- reading and writing


@pytest.mark.parametrize(
    ("stored", "seen"),
    [
        (b"running", "running"),
        (b"", ""),
        (b"tab\there\nand there", "tab\there\nand there"),
        ("Grüße".encode(), "Grüße"),
        (b"\xff\xfe", "\\xff\\xfe"),
        (b"cut \xc3", "cut \\xc3"),
        (b"nul\0inside\0", "nul\0inside\0"),
        (b"\x1b[2J", "\x1b[2J"),
        (b"v" * 4096, "v" * 4096),
    ],
)
def test_read(daemon, xs, stored, seen):
    daemon.put("/local/domain/7/state", stored)
    assert xs.read("/local/domain/7/state") == seen


@pytest.mark.parametrize("value", ["", "plain", "Grüße\t\n", "a\0b", b"\xff\0", "v" * (4096 - len("/node") - 1)])
def test_write_stores_the_bytes(daemon, xs, value):
    xs.write("/node", value)
    assert daemon.nodes["/node"].value == (value if isinstance(value, bytes) else value.encode())


def test_absence_is_none(xs):
    assert [xs.read("/no"), xs.ls("/no"), xs.perms("/no"), xs.owner("/no")] == [None] * 4


def test_mkdir_and_rm_are_idempotent(daemon, xs):
    daemon.put("/a/b", b"kept")
    xs.mkdir("/a/b")
    xs.mkdir("/a/new")
    assert (xs.read("/a/b"), xs.read("/a/new"), xs.ls("/a")) == ("kept", "", ["b", "new"])
    xs.rm("/a")
    xs.rm("/a")
    assert xs.ls("/") == []


def test_perms_and_owner(daemon, xs):
    daemon.put("/local/domain/7/device-model/6", perms=[b"n7", b"r6", b"b12"])
    assert xs.perms("/local/domain/7/device-model/6") == [("n", 7), ("r", 6), ("b", 12)]
    assert xs.owner("/local/domain/7/device-model/6") == 7
    assert xs.owner("/local/domain/7") == 0


@pytest.mark.parametrize(
    "mood",
    [
        {},
        {"backwards": True},
        {"chatter": 3},
        {"faults": {"READ": dribble}},
        {"faults": {"READ": dribble}, "backwards": True, "chatter": 1},
    ],
    ids=["well", "backwards", "chatter", "dribble", "all"],
)
def test_read_many_matches_replies_to_requests(daemon, xs, mood):
    vars(daemon).update(mood)
    count = PIPELINED + 44
    for n in range(0, count, 2):
        daemon.put(f"/n/{n}", b"value %d" % n)
    paths = [f"/n/{n}" for n in range(count)]
    expected = {f"/n/{n}": None if n % 2 else f"value {n}" for n in range(count)}
    assert xs.read_many([*paths, paths[0]]) == expected
    assert len(daemon.seen) == count, "a path given twice is asked for once"
    assert events(xs, mood.get("chatter", 0) * count) == [("/chatter", "nobody")] * mood.get("chatter", 0) * count


def test_more_in_flight_than_the_socket_holds(daemon, xs):
    """Requests and replies of megabytes: a client that sends all before it reads locks up with its xenstored."""
    long_path = "/" + "p" * 3000
    paths = [f"{long_path}/{n:03}" for n in range(PIPELINED)]
    for path in paths:
        daemon.put(path, b"v" * 4000)
    assert xs.read_many(paths) == dict.fromkeys(paths, "v" * 4000)


def test_a_daemon_that_answers_nothing_until_it_has_everything(daemon, xs):
    """What the socket did not take at first must follow without a reply to call for it."""
    daemon.faults["READ"] = hold(PIPELINED)
    paths = [f"/{'p' * 3000}/{n:03}" for n in range(PIPELINED)]
    assert xs.read_many(paths) == dict.fromkeys(paths)


def test_no_paths_no_requests(daemon, xs):
    assert (xs.read_many([]), xs.ls_many(iter(()))) == ({}, {})
    assert daemon.seen == []


# --- listings


def fill(daemon, count):
    for n in range(count):
        daemon.put(f"/dir/child-{n:05}")
    return [f"child-{n:05}" for n in range(count)]


@pytest.mark.parametrize("count", [0, 1, 340, 341, 342, 1500])
def test_ls_of_any_length(daemon, xs, count):
    daemon.put("/dir")
    children = fill(daemon, count)
    assert xs.ls("/dir") == children
    assert ("DIRECTORY_PART" in daemon.seen) == (count * len("child-00000\0") > 4096)


@pytest.mark.parametrize("limit", [16, 17, 24, 30])
def test_ls_in_parts_ends_wherever_the_parts_do(daemon, xs, limit):
    daemon.listing_limit = limit
    children = fill(daemon, 12)
    assert xs.ls("/dir") == children


def test_ls_in_one_packet_beyond_the_protocol_limit(daemon, xs):
    daemon.listing_limit = None
    assert xs.ls("/dir") is None
    assert xs.ls_many(["/dir", "/"]) == {"/dir": None, "/": []}
    children = fill(daemon, 600)
    assert xs.ls("/dir") == children
    assert "DIRECTORY_PART" not in daemon.seen


def test_ls_of_a_directory_that_is_emptied_before_its_first_part(daemon, xs):
    daemon.put("/dir")
    daemon.refusals["DIRECTORY"] = iter(["E2BIG"])
    assert xs.ls("/dir") == []
    assert daemon.seen == ["DIRECTORY", "DIRECTORY_PART"]


def during_part(number, change):
    """A fault that calls change() before it sends the part of that number."""
    count = itertools.count()

    def fault(daemon, fd, reply):
        if next(count) == number:
            change()
        daemon.send(fd, reply)

    return fault


def test_ls_starts_anew_when_the_directory_changes(daemon, xs):
    children = fill(daemon, 1000)
    daemon.faults["DIRECTORY_PART"] = during_part(1, lambda: daemon.put("/dir/a-new-first"))
    assert xs.ls("/dir") == ["a-new-first", *children]
    assert daemon.seen.count("DIRECTORY_PART") > 4


def test_ls_of_a_directory_that_goes_away(daemon, xs):
    fill(daemon, 1000)
    daemon.faults["DIRECTORY_PART"] = during_part(1, lambda: daemon.remove("/dir"))
    assert xs.ls("/dir") is None


def test_ls_of_a_directory_that_never_rests(daemon):
    fill(daemon, 1000)
    number = itertools.count()

    def change(self, fd, reply):
        self.put(f"/dir/new-{next(number)}")
        self.send(fd, reply)

    daemon.faults["DIRECTORY_PART"] = change
    with client_of(daemon, SHORT) as xs, pytest.raises(XenError) as failure:
        xs.ls("/dir")
    assert failure.value.evidence == {"op": "DIRECTORY_PART", "path": "/dir", "errno": "EAGAIN"}


# --- watches


def test_a_watch_fires_at_once_and_on_every_change_below(daemon, xs):
    xs.watch("/a", "token")
    daemon.put("/a", b"1")
    daemon.put("/a/b/c", b"2")
    daemon.put("/ab", b"not below")
    daemon.remove("/a/b")
    assert events(xs, 4) == [("/a", "token"), ("/a", "token"), ("/a/b/c", "token"), ("/a/b", "token")]
    assert xs.next_event(0) is None


def test_removing_a_parent_is_an_event_on_the_watched_path(daemon, xs):
    daemon.put("/local/domain/7/state")
    xs.watch("/local/domain/7/state", "t")
    daemon.remove("/local/domain/7")
    assert events(xs, 2) == [("/local/domain/7/state", "t")] * 2


def test_events_queue_up_behind_requests_in_order(daemon, xs):
    xs.watch("/a", "t")
    for n in range(50):
        daemon.put(f"/a/{n}")
        assert xs.read(f"/a/{n}") == ""
    assert events(xs, 51) == [("/a", "t"), *[(f"/a/{n}", "t") for n in range(50)]]


def test_a_duplicate_watch_is_refused_and_the_first_one_stays(daemon, xs):
    xs.watch("/a", "t")
    assert code_of(xs.watch, "/a", "t") == "xenstore_refused"
    xs.watch("/a", "u")
    daemon.put("/a")
    assert sorted(events(xs, 4)) == [("/a", "t"), ("/a", "t"), ("/a", "u"), ("/a", "u")]


def test_unwatch_takes_back_the_queued_events_of_its_token(daemon, xs):
    for path, token in [("/a", "one"), ("/b", "two"), ("/c", "two")]:
        xs.watch(path, token)
    xs.read("/")
    xs.unwatch("/a", "one")
    xs.unwatch("/b", "two")
    daemon.put("/a")
    daemon.put("/b")
    assert events(xs, 2) == [("/b", "two"), ("/c", "two")], "the token two is still in use"
    assert xs.next_event(0) is None
    assert code_of(xs.unwatch, "/a", "one") == "xenstore_refused"
    xs.watch("/a", "one")
    assert events(xs, 1) == [("/a", "one")]


def test_a_refused_watch_may_be_tried_again(daemon, xs):
    daemon.refusals["WATCH"] = iter(["EQUOTA"])
    assert code_of(xs.watch, "/a", "t") == "xenstore_refused"
    xs.watch("/a", "t")
    assert events(xs, 1) == [("/a", "t")]


def test_next_event_waits_for_what_comes_later_and_not_longer_than_told(daemon, xs):
    xs.watch("/a", "t")
    assert xs.next_event(soon()) == ("/a", "t")
    begin = time.monotonic()
    assert xs.next_event(begin + SHORT) is None
    assert time.monotonic() >= begin + SHORT
    timer = threading.Timer(SHORT, daemon.put, ["/a/later"])
    timer.start()
    assert xs.next_event(float("inf")) == ("/a/later", "t")
    timer.join()


def test_time_is_the_injected_clock(daemon):
    now = [1000.0]
    with Xenstore(UnixSocketConnection(str(daemon.path)), clock=lambda: now[0]) as xs:
        assert xs.next_event(1000.0) is None
        xs.watch("/a", "t")
        event = xs.next_event(1000.0)
        if event is None:  # the daemon's first event may come a moment after its answer
            select.select([xs], [], [], AMPLE)
            event = xs.next_event(1000.0)
        assert event == ("/a", "t")


def test_fileno_shows_events_to_a_callers_poll(daemon, xs):
    xs.watch("/a", "t")
    assert xs.next_event(soon()) == ("/a", "t")
    assert select.select([xs], [], [], 0)[0] == []
    daemon.put("/a")
    assert select.select([xs], [], [], AMPLE)[0] == [xs]
    assert xs.next_event(0) == ("/a", "t")


# --- refusals: the connection lives on


@pytest.mark.parametrize("name", ["EACCES", "EINVAL", "EQUOTA", "ENOSPC", "ENOSYS", "ESOMETHINGELSE", "\x1b[2J"])
@pytest.mark.parametrize(
    ("op", "call"),
    [
        ("READ", lambda xs: xs.read("/a")),
        ("READ", lambda xs: xs.read_many(["/a", "/b"])),
        ("DIRECTORY", lambda xs: xs.ls("/a")),
        ("GET_PERMS", lambda xs: xs.owner("/a")),
        ("WRITE", lambda xs: xs.write("/a", "v")),
        ("MKDIR", lambda xs: xs.mkdir("/a")),
        ("RM", lambda xs: xs.rm("/a")),
        ("WATCH", lambda xs: xs.watch("/a", "t")),
    ],
)
def test_an_error_reply_names_operation_path_and_error(daemon, xs, op, call, name):
    daemon.put("/a", b"v")
    daemon.refusals[op] = iter([name])
    with pytest.raises(XenError) as failure:
        call(xs)
    assert failure.value.code == "xenstore_refused"
    assert failure.value.evidence == {"op": op, "path": "/a", "errno": name.replace("\x1b", "\ufffd")}
    assert bool(failure.value.hint) == (name in ("EACCES", "EQUOTA", "ENOSPC"))
    daemon.put("/a", b"still here")
    assert xs.read("/a") == "still here"


@pytest.mark.parametrize("perms", [b"n", b"x0", b"n-1", b"n\xd9\xa4", b"n 1", b"n1_0", b"n12345678901", b"OK"])
def test_permissions_that_are_none_are_refused(daemon, xs, perms):
    daemon.put("/a", b"v", perms=[b"n0", perms])
    assert code_of(xs.perms, "/a") == code_of(xs.nodes, ["/a"]) == "xenstore_refused"
    assert xs.read("/a") == "v"


def test_a_listing_without_an_end_has_one(daemon, xs):
    """In parts, none of which is the last."""
    daemon.refusals["DIRECTORY"] = iter(["E2BIG"])
    part = b"7\0" + b"name\0" * (REPLY_MAX // 10)
    daemon.faults["DIRECTORY_PART"] = lambda running, fd, reply: running.send(fd, packet_like(reply, part))
    assert code_of(xs.ls, "/") == "xenstore_lost"
    assert daemon.seen.count("DIRECTORY_PART") == 3


def packet_like(reply, payload):
    op, rq_id, tx_id, _size = HEADER.unpack_from(reply)
    return HEADER.pack(op, rq_id, tx_id, len(payload)) + payload


@pytest.mark.parametrize(
    ("method", "args", "error"),
    [
        ("read", [""], "EINVAL"),
        ("read", ["relative/path"], "EINVAL"),
        ("read", ["/trailing/"], "EINVAL"),
        ("read", ["/double//slash"], "EINVAL"),
        ("read", ["/new\nline"], "EINVAL"),
        ("read", ["/ends\n"], "EINVAL"),
        ("read", ["/nul\0"], "EINVAL"),
        ("read", ["/umlaut-ü"], "EINVAL"),
        ("read", ["/dots/.."], "EINVAL"),
        ("read", ["@"], "EINVAL"),
        ("read", ["/" + "p" * 3072], "EINVAL"),
        ("read_many", [["/good", "/bad path"]], "EINVAL"),
        ("ls", ["/a b"], "EINVAL"),
        ("owner", ["/a b"], "EINVAL"),
        ("rm", ["/a*"], "EINVAL"),
        ("mkdir", ["a"], "EINVAL"),
        ("write", ["/a", "v" * 4094], "E2BIG"),
        ("write", ["/a", "ü" * 2047], "E2BIG"),
        ("write", ["/a", "\udcff"], "EINVAL"),
        ("watch", ["/a", "t\0"], "EINVAL"),
        ("watch", ["/a", ""], "EINVAL"),
        ("watch", ["/a", "t" * 4093], "E2BIG"),
        ("watch", ["/a", "\ud800"], "EINVAL"),
    ],
)
def test_what_the_protocol_forbids_is_not_sent(daemon, xs, method, args, error):
    with pytest.raises(XenError) as failure:
        getattr(xs, method)(*args)
    assert (failure.value.code, failure.value.evidence["errno"]) == ("xenstore_refused", error)
    assert xs.read("/") == ""
    assert daemon.seen == ["READ"], "nothing but the read after it"


@pytest.mark.parametrize("path", ["/", "/a", "/A-z_0@9/x", "@releaseDomain", "@releaseDomain/7", "/" + "p" * 3071])
def test_paths_that_the_protocol_allows(xs, path):
    assert xs.read(path) in (None, "")


def test_eagain_is_asked_again(daemon, xs):
    daemon.put("/a", b"v")
    daemon.refusals["READ"] = iter(["EAGAIN"] * 3)
    assert xs.read_many(["/a", "/b"]) == {"/a": "v", "/b": None}
    assert daemon.seen.count("READ") == 5


def test_a_storm_of_eagain_and_events_leaves_every_reply_with_its_request(daemon, xs):
    """Of a batch some are refused more often than others, and nothing comes in the order in which it was sent."""
    daemon.backwards, daemon.chatter = True, 2
    count = PIPELINED + 44
    for n in range(count):
        daemon.put(f"/n/{n}", b"value %d" % n)
    daemon.refusals["READ"] = iter(["EAGAIN"] * 700)
    assert xs.read_many(f"/n/{n}" for n in range(count)) == {f"/n/{n}": f"value {n}" for n in range(count)}
    assert daemon.seen.count("READ") == count + 700


def test_eagain_and_then_silence_ends_at_the_deadline_of_the_request(daemon):
    """What is asked again has no deadline of its own. A request takes 400 s here, and an event ends each wait after it."""
    looks = itertools.count()

    def clock():
        asked = daemon.seen.count("READ")
        if asked == 2:
            daemon.put("/a")
            return 800 + next(looks)
        return 400 * asked

    def agitated(daemon, fd, reply):
        return daemon.send(fd, reply) if b"EAGAIN" in reply else daemon.put("/a")

    daemon.refusals["READ"] = iter(["EAGAIN"])
    daemon.faults["READ"] = agitated
    with Xenstore(UnixSocketConnection(str(daemon.path)), clock, 1000) as xs:
        xs.watch("/a", "t")
        assert code_of(xs.read, "/a") == "xenstore_timeout"
        assert 1000 <= clock() < 1010, "a few looks more"


def test_eagain_for_ever_ends_before_the_deadline(daemon):
    """Half of the time is kept for the last answer."""
    daemon.refusals["READ"] = itertools.repeat("EAGAIN")
    begin = time.monotonic()
    with client_of(daemon, SHORT) as xs, pytest.raises(XenError) as failure:
        xs.read("/a")
    assert SHORT / 2 <= time.monotonic() - begin < AMPLE
    assert failure.value.evidence["errno"] == "EAGAIN"
    assert daemon.seen.count("READ") <= SHORT / 0.01 + 1, "it paused between attempts"


# --- the end of a connection

FATAL = [
    ("stalls", stall, "xenstore_timeout"),
    ("stalls in the header", stall_after(7), "xenstore_timeout"),
    ("stalls after the header", stall_after(HEADER.size), "xenstore_timeout"),
    ("stalls in the payload", stall_after(HEADER.size + 2), "xenstore_timeout"),
    ("dies", die_after(0), "xenstore_lost"),
    ("dies in the header", die_after(7), "xenstore_lost"),
    ("dies in the payload", die_after(HEADER.size + 2), "xenstore_lost"),
    ("announces too much", forge(size=REPLY_MAX + 1), "xenstore_lost"),
    ("answers another request", forge(rq_id=99), "xenstore_lost"),
    ("answers with an error to another request", forge(op=16, rq_id=99), "xenstore_lost"),
    ("answers with another type", forge(op=1), "xenstore_lost"),
    ("answers with a type of the future", forge(op=4711), "xenstore_lost"),
]


@pytest.mark.parametrize(("fault", "code"), [case[1:] for case in FATAL], ids=[case[0] for case in FATAL])
def test_after_a_fatal_error_all_is_lost_and_nothing_leaks(daemon, fault, code):
    daemon.put("/a", b"value")
    before = open_descriptors()
    xs = client_of(daemon)
    xs.watch("/a", "t")
    xs.timeout = SHORT if code == "xenstore_timeout" else AMPLE
    daemon.faults["READ"] = fault
    begin = time.monotonic()
    with pytest.raises(XenError) as failure:
        xs.read_many(["/a", "/b"])
    took = time.monotonic() - begin
    assert failure.value.code == code
    if code == "xenstore_timeout":
        assert SHORT <= took < AMPLE
        assert failure.value.evidence == {"op": "READ", "path": "/a", "unanswered": 2, "asked": 2}
        assert "READ of /a within 0.2 s" in failure.value.msg
    later = [
        xs.fileno,
        lambda: xs.read("/a"),
        lambda: xs.ls("/a"),
        lambda: xs.owner("/a"),
        lambda: xs.write("/a", "v"),
        lambda: xs.rm("/a"),
        lambda: xs.watch("/b", "t"),
        lambda: xs.unwatch("/a", "t"),
        lambda: xs.next_event(soon()),
    ]
    assert {code_of(call) for call in later} == {"xenstore_lost"}
    xs.close()
    daemon.die()
    assert open_descriptors() == before - 2, "the listener and the daemon's wake-up are gone, and all that came after"


def test_a_daemon_that_stops_reading_blocks_no_write(daemon):
    daemon.faults["WRITE"] = stall
    with client_of(daemon, AMPLE) as xs:
        xs.timeout = SHORT
        assert code_of(xs.write, "/a", "v") == "xenstore_timeout"
    with client_of(daemon, SHORT) as xs:
        assert code_of(xs.read_many, [f"/{'p' * 3000}/{n}" for n in range(PIPELINED)]) == "xenstore_timeout"


def test_a_flood_of_events_does_not_extend_a_deadline(daemon):
    """The daemon is busy, only never with the reply: an event comes whenever the client looks at the clock."""
    begin = time.monotonic()

    def clock():
        now = time.monotonic()
        if now < begin + AMPLE:
            daemon.put("/a")
        return now

    daemon.faults["READ"] = lambda _daemon, _fd, _reply: None
    with Xenstore(UnixSocketConnection(str(daemon.path)), clock, AMPLE) as xs:
        xs.watch("/a", "t")
        xs.timeout = SHORT
        assert code_of(xs.read, "/a") == "xenstore_timeout"
    assert SHORT <= time.monotonic() - begin < AMPLE


def test_the_daemons_death_ends_the_wait_for_an_event(daemon):
    with client_of(daemon) as xs:
        xs.watch("/a", "t")
        assert xs.next_event(soon()) == ("/a", "t")
        death = threading.Timer(SHORT, daemon.die)
        death.start()
        assert code_of(xs.next_event, soon()) == "xenstore_lost"
        death.join()


def test_what_arrived_before_the_daemons_death_is_still_told(daemon):
    with client_of(daemon) as xs:
        xs.watch("/a", "t")
        daemon.put("/a/b")
        daemon.die()
        assert events(xs, 2) == [("/a", "t"), ("/a/b", "t")]
        assert code_of(xs.next_event, soon()) == "xenstore_lost"
        assert code_of(xs.read, "/a") == "xenstore_lost"


def test_an_interrupted_request_ends_the_connection(daemon):
    class Interrupt(Exception):
        pass

    def interrupt(_signal, _frame):
        raise Interrupt

    daemon.faults["READ"] = stall
    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        with client_of(daemon) as xs:
            signal.setitimer(signal.ITIMER_REAL, SHORT)
            with pytest.raises(Interrupt):
                xs.read("/a")
            assert code_of(xs.read, "/a") == "xenstore_lost"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def test_close_may_be_called_again(daemon):
    xs = client_of(daemon)
    xs.close()
    xs.close()
    assert code_of(xs.read, "/") == "xenstore_lost"


# --- connecting


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, ["/run/xenstored/socket", "/var/run/xenstored/socket", "/dev/xen/xenbus", "/proc/xen/xenbus"]),
        ({"XENSTORED_RUNDIR": "/r"}, ["/r/socket", "/dev/xen/xenbus", "/proc/xen/xenbus"]),
        ({"XENSTORED_PATH": "/p", "XENSTORED_RUNDIR": "/r"}, ["/p"]),
        (
            {"XENSTORED_PATH": "", "XENSTORED_RUNDIR": ""},
            ["/run/xenstored/socket", "/var/run/xenstored/socket", "/dev/xen/xenbus", "/proc/xen/xenbus"],
        ),
    ],
)
def test_places(environ, expected):
    assert places(environ) == expected


@pytest.mark.parametrize("variable", ["XENSTORED_PATH", "XENSTORED_RUNDIR"])
def test_the_environment_leads_to_the_daemon(daemon, monkeypatch, variable):
    place = daemon.path if variable == "XENSTORED_PATH" else daemon.path.parent
    monkeypatch.delenv("XENSTORED_PATH", raising=False)
    monkeypatch.setenv(variable, str(place))
    daemon.put("/a", b"v")
    with Xenstore() as xs:
        assert xs.read("/a") == "v"


def nothing(_path):
    pass


def dead_socket(path):
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))


@pytest.mark.parametrize(
    ("make", "why"), [(nothing, "No such file"), (dead_socket, "Connection refused"), (lambda path: path.mkdir(), "directory")]
)
@pytest.mark.parametrize("given_as", ["environment", "connection"])
def test_unreachable(tmp_path, monkeypatch, make, why, given_as):
    path = tmp_path / "socket"
    make(path)
    monkeypatch.setenv("XENSTORED_PATH", str(path))
    if given_as == "connection" and path.is_dir():
        connection = XenBusConnection(str(path))
    else:
        connection = UnixSocketConnection(str(path)) if given_as == "connection" else None
    before = open_descriptors()
    for _each in range(10):
        with pytest.raises(XenError) as failure:
            Xenstore(connection)
    assert failure.value.code == "xenstore_unreachable"
    assert failure.value.evidence == {"tried": [str(path)]}
    assert why in failure.value.msg and "dom0" in failure.value.hint
    assert open_descriptors() == before


def test_connecting_to_a_stalled_daemon_is_bounded(tmp_path):
    """A daemon that does not accept: connects succeed until its backlog is full, then block."""
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(str(tmp_path / "socket"))
        listener.listen(0)
        first.connect(str(tmp_path / "socket"))
        begin = time.monotonic()
        with pytest.raises(XenError, match=r"socket took no connection within 0\.2 s$") as failure:
            Xenstore(UnixSocketConnection(str(tmp_path / "socket")), timeout=SHORT)
        assert failure.value.code == "xenstore_unreachable"
        assert SHORT <= time.monotonic() - begin < AMPLE


def test_a_connection_that_is_already_made_is_used(daemon):
    connection = UnixSocketConnection(str(daemon.path))
    connection.connect()
    with Xenstore(connection) as xs:
        assert xs.read("/") == ""
    assert not connection.is_connected


def test_without_pyxs_the_module_imports_and_says_what_to_install():
    program = """
import sys
sys.modules["pyxs"] = None
from ansible_collections.stubdom.xen.plugins.module_utils import xenstore
try:
    xenstore.Xenstore()
except xenstore.XenError as error:
    print(error.code, "apt install python3-pyxs" in error.hint, "pip install pyxs" in error.hint)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (done.stdout, done.stderr) == ("pyxs_missing True True\n", "")


# --- the Linux device, /dev/xen/xenbus


@pytest.fixture
def device(daemon):
    """The path of a character device behind which the daemon serves."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    daemon.adopt(ours)
    yield os.ttyname(theirs)
    os.close(theirs)


def test_the_device_serves_like_the_socket(daemon, device):
    with Xenstore(XenBusConnection(device), timeout=AMPLE) as xs:
        xs.write("/a/b", "v")
        xs.watch("/a", "t")
        assert xs.next_event(soon()) == ("/a", "t")
        assert xs.next_event(0) is None
        assert xs.read_many(["/a/b", "/c"]) == {"/a/b": "v", "/c": None}
        daemon.put("/a/b")
        assert xs.next_event(soon()) == ("/a/b", "t")


def test_a_kernel_that_leaves_the_id_out_of_watch_replies(daemon, device):
    daemon.faults = {"WATCH": forge(rq_id=0), "UNWATCH": forge(rq_id=0)}
    with Xenstore(XenBusConnection(device), timeout=AMPLE) as xs:
        xs.watch("/a", "t")
        assert xs.next_event(soon()) == ("/a", "t")
        xs.unwatch("/a", "t")
        daemon.put("/a")
        assert xs.read("/a") == ""
        assert xs.next_event(0) is None


def test_a_kernel_that_refuses_by_errno():
    """/dev/full is a character device whose writes fail, with ENOSPC."""
    with Xenstore(XenBusConnection("/dev/full"), timeout=AMPLE) as xs:
        with pytest.raises(XenError) as failure:
            xs.watch("/a", "t")
        assert failure.value.code == "xenstore_refused"
        assert failure.value.evidence == {"op": "WATCH", "path": "/a", "errno": "ENOSPC"}


# --- packets

numbers = st.integers(0, 2**32 - 1)
payloads = st.binary(max_size=64) | st.binary(min_size=4096, max_size=4096)
sent = st.lists(st.tuples(numbers, payloads, numbers), max_size=8)


@given(sent, st.lists(st.integers(0, 9000), max_size=12))
def test_packets_come_out_as_they_went_in_however_they_are_cut(packets, cuts):
    stream = b"".join(pack(*one) for one in packets)
    bounds = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    inbox, received = bytearray(), []
    for begin, end in zip(bounds, bounds[1:]):
        inbox += stream[begin:end]
        received += take_packets(inbox)
    assert [(one.op, one.payload, one.rq_id) for one in received] == packets
    assert all(one.size == len(one.payload) and one.tx_id == 0 for one in received)
    assert not inbox


@given(st.binary(max_size=200))
def test_no_bytes_make_the_parser_fail_but_an_absurd_length(garbage):
    inbox = bytearray(garbage)
    try:
        packets = take_packets(inbox)
    except ValueError as error:
        assert "announced" in str(error)
    else:
        assert sum(HEADER.size + one.size for one in packets) + len(inbox) == len(garbage)


def test_a_host_without_pyxs_is_told_what_to_install():
    """In a Python of its own, in which it cannot be imported."""
    program = (
        f"import sys; sys.path[:0] = {sys.path!r}; sys.modules['pyxs'] = None\n"
        "from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError\n"
        "from ansible_collections.stubdom.xen.plugins.module_utils.xenstore import Xenstore\n"
        "try: Xenstore()\nexcept XenError as error: print(error.code, error.hint)\n"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    code, _blank, hint = told.partition(" ")
    assert code == "pyxs_missing" and "python3-pyxs" in hint
