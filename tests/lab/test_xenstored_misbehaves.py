# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The xenstore client against both of Debian's xenstored, in C and in OCaml, each on a simulated host of its own, while they
stall, die, are started again and are asked for much. After each test there is no thread and no descriptor more than before.

What these two cannot be made to do is in tests/unit/test_xenstore.py, with a simulated xenstored: replies that are cut,
forged or never come, and storms of EAGAIN. xenstored answers that to nothing but the end of a transaction, and the client
begins none.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import process
import pytest
from pyxs.connection import UnixSocketConnection
from simulated import SimulatedHost

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.host import XenHost
from ansible_collections.stubdom.xen.plugins.module_utils.xenstore import Xenstore
from ansible_collections.stubdom.xen.plugins.module_utils.xsline import PIPELINED

ROOT = Path(__file__).resolve().parents[2]
MAY = subprocess.run(["unshare", "--mount", "--pid", "--net", "--fork", "true"], capture_output=True, check=False)
pytestmark = pytest.mark.skipif(bool(MAY.returncode), reason="namespaces are not permitted here")

SHORT = 0.1  # a limit that a test means to reach, seconds
AMPLE = 300.0  # a limit that only a hanging client reaches; the machine may be busy
HERE = "/misbehaves"
NODE = f"{HERE}/node"
DIR = f"{HERE}/directory"


# --- the host and its xenstored


def lab(host: SimulatedHost, command: str, *options: str) -> None:
    """The runner of simulated hosts, which the lab's playbook calls too."""
    runner = [sys.executable, str(ROOT / "roles/lab/files/simhost"), command, str(ROOT / ".lab"), host.name]
    subprocess.run([*runner, *options], check=True, stdout=subprocess.DEVNULL, timeout=AMPLE)


def build(host: SimulatedHost, inventory: Path) -> None:
    """Has the lab's playbook build the image: a host of that name runs at the end."""
    given = {"lab_kind": "simulated", "lab_hosts": [host.name], "lab_inventory": str(inventory), "lab_owner": str(os.getpid())}
    playbook = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", "playbooks/lab.yml"]
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache/collections")}
    subprocess.run([*playbook, "-e", json.dumps(given)], check=True, stdout=subprocess.DEVNULL, cwd=ROOT, env=environment)


class Daemon:
    """The xenstored of a simulated host: how it is reached from here, and what befalls it."""

    def __init__(self, host: SimulatedHost, kind: str) -> None:
        self.kind = kind  # c or ocaml
        self.init = process.pid_of(host)
        self.path = f"/proc/{self.init}/root/run/xenstored/socket"
        self.clients: list[Xenstore] = []  # so that what one leaves open stays open, and is seen

    def client(self, timeout: float = AMPLE) -> Xenstore:
        self.clients.append(Xenstore(UnixSocketConnection(self.path), timeout=timeout))
        return self.clients[-1]

    def seen(self) -> tuple[int, str] | None:
        """Its pid here and the letter of its state (proc(5)); None where it is dead."""
        for pid in Path(f"/proc/{self.init}/task/{self.init}/children").read_text().split():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                name, state = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].split()[:2]
                if name in ("xenstored)", "oxenstored)") and state != "Z":
                    return int(pid), state
        return None

    def pid(self) -> int:
        seen = self.seen()
        assert seen, "xenstored is dead"
        return seen[0]

    def stop(self) -> None:
        """Nobody but its father is told when it has stopped."""
        os.kill(self.pid(), signal.SIGSTOP)
        while self.seen() != (self.pid(), "T"):
            os.sched_yield()

    def go_on(self) -> None:
        os.kill(self.pid(), signal.SIGCONT)

    def kill(self) -> None:
        pid = self.pid()
        with open(os.pidfd_open(pid), "rb") as end:
            os.kill(pid, signal.SIGKILL)
            assert select.select([end], [], [], AMPLE)[0]

    def start(self) -> None:
        """As an administrator does; on a host whose xenstored runs it does nothing."""
        enter = ["nsenter", "--target", str(self.init), "--all", f"--root=/proc/{self.init}/root"]
        clean = {name: value for name, value in os.environ.items() if name != "XENSTORED_PATH"}
        subprocess.run([*enter, "/etc/init.d/xen", "start"], check=True, stdout=subprocess.DEVNULL, timeout=AMPLE, env=clean)


@pytest.fixture(scope="module", params=["c", "ocaml"])
def daemon(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    host = SimulatedHost.of(ROOT / ".lab", f"store{os.getpid()}-{request.param}")
    if not list(host.images.glob("simulated-*")):
        build(host, tmp_path_factory.mktemp("lab") / "inventory.yml")
    # any image will do: xenstored in it is Debian's, and of the hypervisor this needs no more than that it is there
    newest = max(host.images.glob("simulated-*"), key=lambda path: path.stat().st_mtime).name
    made_of = ["--image", newest, "--memory", "4096", "--xenstored", request.param]
    lab(host, "start", *made_of, "--owner", str(os.getpid()))
    yield Daemon(host, request.param)
    lab(host, "absent")


@pytest.fixture(autouse=True)
def nothing_is_left(daemon: Daemon) -> Iterator[None]:
    before = remains()
    yield
    assert remains() - before == set()
    daemon.clients.clear()


def remains() -> set[str]:
    """The threads and the descriptors of this process."""
    found = {f"thread {thread.name}" for thread in threading.enumerate()} | {
        f"task {tid}" for tid in os.listdir("/proc/self/task")
    }
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # that of this listing
            found.add(f"descriptor {path.name} of {os.readlink(path)}")
    return found


@pytest.fixture
def store(daemon: Daemon, nothing_is_left: None) -> Iterator[Daemon]:
    """A xenstored that runs, with nothing of another test in it."""
    if not daemon.seen():
        daemon.start()
    with daemon.client() as xs:
        xs.rm(HERE)
        xs.write(NODE, "value")
    yield daemon
    if daemon.seen():
        daemon.go_on()


def soon() -> float:
    return time.monotonic() + AMPLE


def events(xs: Xenstore, count: int) -> list[Any]:
    return [xs.next_event(soon()) for _each in range(count)]


def code_of(call: Callable[..., Any], *args: Any) -> str:
    with pytest.raises(XenError) as failure:
        call(*args)
    return failure.value.code


def looking(xs: Xenstore, act: Callable[[], object]) -> None:
    """Has act() called whenever the client looks at its clock, which it does before each wait."""
    xs.clock = lambda: (act(), time.monotonic())[1]


def once_sent(xs: Xenstore, act: Callable[[], object]) -> None:
    """Has act() called once, when a request lies in the socket and nobody has read it."""
    acts = [act]

    def look() -> None:
        if acts and struct.unpack("i", fcntl.ioctl(xs.fileno(), termios.TIOCOUTQ, bytes(4)))[0]:
            acts.pop()()

    looking(xs, look)


# --- stalled

CALLS: dict[str, Callable[[Xenstore], Any]] = {
    "read": lambda xs: xs.read(NODE),
    "read_many": lambda xs: xs.read_many([NODE, HERE, "/"]),
    "ls": lambda xs: xs.ls(HERE),
    "owner": lambda xs: xs.owner(NODE),
    "write": lambda xs: xs.write(NODE, "new"),
    "mkdir": lambda xs: xs.mkdir(DIR),
    "rm": lambda xs: xs.rm(NODE),
    "watch": lambda xs: xs.watch(NODE, "token"),
}
# More than a socket takes in, so that the client is still sending. oxenstored has no path of more than 1024 bytes.
MUCH = [f"/{'p' * 1000}/{number}" for number in range(PIPELINED)]


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_stalled_xenstored_is_told_at_the_deadline(store: Daemon, call: Callable[[Xenstore], Any]) -> None:
    xs = store.client(SHORT)
    store.stop()
    begin = time.monotonic()
    assert code_of(call, xs) == "xenstore_timeout"
    assert SHORT <= time.monotonic() - begin < AMPLE
    assert code_of(call, xs) == "xenstore_lost", "what is half said cannot be gone on with"
    store.go_on()
    with store.client() as anew:
        call(anew)


def test_requests_that_a_stalled_xenstored_does_not_take_end_at_the_deadline_too(store: Daemon) -> None:
    store.stop()
    assert code_of(store.client(SHORT).read_many, MUCH) == "xenstore_timeout"
    store.go_on()
    with store.client() as anew:
        assert anew.read_many(MUCH) == dict.fromkeys(MUCH)


def test_a_stall_that_ends_in_time_is_sat_out(store: Daemon) -> None:
    store.stop()
    with store.client() as xs:
        once_sent(xs, store.go_on)
        assert xs.read(NODE) == "value"


def test_a_stalled_xenstored_takes_some_connections_and_refuses_none(store: Daemon) -> None:
    """It has a queue of those that it has not accepted; beyond that a connect waits, and has a limit too."""
    store.stop()
    with contextlib.ExitStack() as waiting, pytest.raises(XenError) as failure:
        for _each in range(1000):
            waiting.enter_context(store.client(SHORT))
    assert failure.value.code == "xenstore_unreachable"
    assert f"{store.path} took no connection within 0.1 s" in failure.value.msg
    store.go_on()
    with store.client() as anew:
        assert anew.read(NODE) == "value"


def test_a_watch_outlives_a_stall(store: Daemon) -> None:
    """A wait for an event cannot tell a stall from peace: at the deadline there was none."""
    with store.client() as xs, store.client() as other:
        xs.watch(NODE, "token")
        assert xs.next_event(soon()) == (NODE, "token")
        store.stop()
        assert xs.next_event(time.monotonic() + SHORT) is None
        once_sent(other, store.go_on)
        other.write(NODE, "new")
        assert (xs.next_event(soon()), xs.read(NODE)) == ((NODE, "token"), "new")


# --- killed

MEANWHILE: dict[str, Callable[[Xenstore], Any]] = {
    "a request is with it": CALLS["read"],
    "a change is with it": CALLS["write"],
    "requests are on their way to it": lambda xs: xs.read_many(MUCH),
}


@pytest.mark.parametrize("call", MEANWHILE.values(), ids=MEANWHILE)
def test_a_xenstored_killed_while(store: Daemon, call: Callable[[Xenstore], Any]) -> None:
    xs = store.client()
    store.stop()
    once_sent(xs, store.kill)
    with pytest.raises(XenError) as failure:
        call(xs)
    assert failure.value.code == "xenstore_lost" and "is xenstored running?" in str(failure.value.hint)
    assert code_of(store.client) == "xenstore_unreachable", "its socket is still there"
    store.start()
    with store.client() as anew:
        assert anew.read("/") == ""


def test_a_xenstored_killed_before_it_accepts_the_connection(store: Daemon) -> None:
    store.stop()
    xs = store.client()
    once_sent(xs, store.kill)
    assert code_of(xs.read, NODE) == "xenstore_lost"


def test_a_xenstored_killed_while_an_event_is_waited_for(store: Daemon) -> None:
    """What it told before its death is heard."""
    xs = store.client()
    xs.watch(HERE, "token")
    with store.client() as other:
        other.write(NODE, "new")
    assert events(xs, 2) == [(HERE, "token"), (NODE, "token")]
    with store.client() as other:
        other.rm(NODE)
    looking(xs, lambda: store.seen() and store.kill())
    assert events(xs, 1) == [(NODE, "token")]
    assert code_of(xs.next_event, soon()) == "xenstore_lost"


# --- started again


@pytest.fixture
def dom0(store: Daemon, monkeypatch: pytest.MonkeyPatch) -> Iterator[XenHost]:
    """The host as the modules see it: its xenstore() opens a connection, and another when that has broken."""
    monkeypatch.setenv("XENSTORED_PATH", store.path)
    host = XenHost(None)
    yield host
    host.close()


def test_a_restart_during_a_wait_ends_it_and_leaves_an_empty_tree(store: Daemon, dom0: XenHost) -> None:
    """Both keep their tree in memory: nodes and watches of before are gone, and nobody is to believe that he still waits."""

    async def restart() -> None:
        store.kill()
        store.start()

    dom0.xenstore().watch(NODE, "token")
    assert dom0.finish(dom0.next_event(soon())) == (NODE, "token")
    waited, _restarted = dom0.together([dom0.next_event(soon()), restart()], limit=2)
    assert waited.error and waited.error.code == "xenstore_lost", waited
    assert dom0.xenstore().read(NODE) is None
    dom0.xenstore().write(NODE, "new")
    assert dom0.xenstore().next_event(0) is None, "its event would have come before the answer"
    dom0.xenstore().watch(NODE, "token")
    assert dom0.finish(dom0.next_event(soon())) == (NODE, "token")


def test_a_restart_that_nobody_waited_through_is_told_once(store: Daemon, dom0: XenHost) -> None:
    """What was read before the restart is not true any more, so the next call does not simply go on."""
    assert dom0.xenstore().read(NODE) == "value"
    store.kill()
    store.start()
    assert code_of(dom0.xenstore().write, NODE, "new") == "xenstore_lost"
    assert dom0.xenstore().read(NODE) is None


# --- listings of more than a packet


def fill(xs: Xenstore, numbers: Iterable[int] = range(400)) -> list[str]:
    """Makes children in DIR, one for each number, and returns their names: 400 are more than two packets hold."""
    children = [f"a-child-of-many-{number:06}" for number in numbers]
    for child in children:
        xs.mkdir(f"{DIR}/{child}")
    return children


def test_a_listing_beyond_a_packet_is_whole(store: Daemon) -> None:
    with store.client() as xs:
        children = fill(xs)
        xs.mkdir(f"{DIR}/{children[7]}/below")
        assert len("\0".join(children)) > 2 * 4096
        found = xs.ls_many([DIR, f"{DIR}/{children[7]}", f"{DIR}/{children[8]}", f"{DIR}/none"])
        assert [sorted(found[DIR] or ()), *list(found.values())[1:]] == [children, ["below"], [], None]


def gain(xs: Xenstore, child: str) -> None:
    """One more, with a name as long as that of this child."""
    xs.mkdir(f"{DIR}/{child[::-1]}")


def lose(xs: Xenstore, child: str) -> None:
    xs.rm(f"{DIR}/{child}")


# what happens to the directory when the client looks at its clock for the nth time
CHANGES: dict[str, Callable[[Xenstore, list[str], int], None]] = {
    "a child more": lambda xs, children, n: gain(xs, children[7 * n]),
    "a child less": lambda xs, children, n: lose(xs, children[7 * n]),
    "a child less, a child more": lambda xs, children, n: (lose, gain)[n % 2](xs, children[n // 2]),
    "no directory any more": lambda xs, children, n: xs.rm(DIR if n > 7 else NODE),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_listing_is_of_one_moment(store: Daemon, change: Callable[[Xenstore, list[str], int], None]) -> None:
    """Whenever the client looks at its clock there has just been a change, and it never sees one by half."""
    with store.client() as xs, store.client() as other:
        children = fill(other)
        moments = [other.ls(DIR)]

        def look() -> None:
            if len(moments) < 20:
                change(other, children, len(moments))
                moments.append(other.ls(DIR))

        looking(xs, look)
        assert xs.ls(DIR) in moments[1:]


# --- values

# what is written -> what is read
VALUES: dict[str, tuple[str | bytes, str]] = {
    "nothing": ("", ""),
    "UTF-8": ("Grüße, 世界", "Grüße, 世界"),
    "no UTF-8": (b"\xff\xfe cut \xc3", "\\xff\\xfe cut \\xc3"),
    "a NUL in it": ("a\0b", "a\0b"),
    "NULs at both ends": ("\0a\0", "\0a\0"),
    "nothing but NULs": (b"\0\0\0", "\0\0\0"),
    "all bytes": (bytes(range(256)), bytes(range(256)).decode(errors="backslashreplace")),
    "lines": ("one\ntwo\r\n", "one\ntwo\r\n"),
}


@pytest.mark.parametrize(("written", "read"), VALUES.values(), ids=VALUES)
def test_a_value_comes_back_as_it_was_written(store: Daemon, written: str | bytes, read: str) -> None:
    with store.client() as xs:
        xs.write(NODE, written)
        assert xs.read_many([NODE, HERE]) == {NODE: read, HERE: ""}


# bytes: the protocol's limit, with the path, and oxenstored's own (quota-maxsize in oxenstored.conf)
LONGEST = {"c": 4096 - len(f"{NODE}\0"), "ocaml": 2048}


def test_a_value_that_is_too_long_is_refused_and_does_no_harm(store: Daemon) -> None:
    longest = "v" * LONGEST[store.kind]
    with store.client() as xs:
        xs.write(NODE, longest)
        with pytest.raises(XenError) as failure:
            xs.write(NODE, longest + "v")
        assert (failure.value.code, failure.value.evidence["errno"]) == ("xenstore_refused", "E2BIG")
        assert xs.read(NODE) == longest


def test_a_token_is_any_text(store: Daemon) -> None:
    with store.client() as xs:
        xs.watch(NODE, "Grüße /\n")
        assert xs.next_event(soon()) == (NODE, "Grüße /\n")
        xs.unwatch(NODE, "Grüße /\n")


# --- storms of events

STORM = 800  # oxenstored keeps 1024 for a client that takes none, and then some of them until the next change


def test_a_reply_behind_thousands_of_events(store: Daemon) -> None:
    """None of them is lost, doubled or out of its order."""
    with store.client() as xs, store.client() as other:
        xs.watch(DIR, "token")
        children = []
        for first in range(0, 5 * STORM, STORM):
            children += fill(other, range(first, first + STORM))
            assert xs.read(NODE) == "value"
        assert [path for path, _token in events(xs, 1 + len(children))] == [DIR, *(f"{DIR}/{child}" for child in children)]
        assert xs.next_event(0) is None


def test_replies_among_the_events_of_many_watches(store: Daemon) -> None:
    """The client sets off its own: each change answers with one for every watch."""
    with store.client() as xs:
        for number in range(64):
            xs.watch(DIR, f"token{number}")
        children = fill(xs, range(50))
        assert xs.read_many([NODE, DIR]) == {NODE: "value", DIR: ""}
        assert len(set(events(xs, 64 * (1 + len(children))))) == 64 * (1 + len(children))
        assert xs.next_event(0) is None


# What becomes of one whose changes set off more events than another takes: oxenstored 4.17 keeps 2 * 1024 of them and
# what the socket holds, and then answers him no more, not even when the other has taken them all.
HELD_UP: dict[str, Callable[[], Any]] = {
    "c": contextlib.nullcontext,
    "ocaml": lambda: pytest.raises(XenError, match=r"xenstored did not answer MKDIR of .* within 0\.5 s"),
}


def test_one_held_up_by_a_client_that_takes_no_events_has_a_deadline(store: Daemon) -> None:
    with store.client() as idle, store.client(AMPLE if store.kind == "c" else 0.5) as other, store.client() as third:
        idle.watch(DIR, "token")
        with HELD_UP[store.kind]():
            fill(other, range(3000))
        assert third.read(NODE) == "value"
