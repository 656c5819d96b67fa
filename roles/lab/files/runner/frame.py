# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The frame of a runner: COMMAND LAB_DIR NAME... [options], the hosts' locks, one line of JSON, errors for people.

A command takes all hosts that it is about, looks at what is there first, so that it can be repeated, and tells by name
what it did, "" for nothing, or the LabError that kept a host from it.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import images
import process
from layout import FRESH, LabError, Layout

Outcomes = dict[str, "str | LabError"]
Command = Callable[[list[Any], argparse.Namespace], Outcomes]


def each(function: Callable[[Any, argparse.Namespace], str]) -> Command:
    """A command that does one host after the other; one that cannot does not keep the rest from it."""

    def command(hosts: list[Any], options: argparse.Namespace) -> Outcomes:
        outcomes: Outcomes = {}
        for host in hosts:
            try:
                outcomes[host.name] = function(host, options)
            except LabError as error:
                outcomes[host.name] = error
        return outcomes

    return command


def main(
    kind: type[Layout], commands: Mapping[str, Command], patterns: Sequence[str], describe: Callable[[Any], dict[str, Any]]
) -> None:
    """Perform what the command line says. describe tells, for "status", how a host is reached."""
    options = _parse(kind.__name__, [*commands, "status", "prune"])
    try:
        if options.command == "status":
            print(json.dumps({host.name: _status(host, describe) for host in kind.all(options.lab_dir)}))
        elif options.command == "prune":
            print(json.dumps(_prune(kind, options, patterns)))
        else:
            print(json.dumps(_perform(kind, commands[options.command], options)))
    except LabError as error:
        sys.exit(str(error))


def _parse(program: str, commands: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=program, description=__doc__)
    parser.add_argument("command", choices=commands)
    parser.add_argument("lab_dir")
    parser.add_argument("name", nargs="*", help="the hosts'")
    parser.add_argument("--image", help="the image's name")
    parser.add_argument("--memory", type=int, help="MiB")
    parser.add_argument("--cpus", type=int, default=2, help="of a simulated host")
    parser.add_argument("--xenstored", choices=("c", "ocaml"), default="ocaml", help="of a simulated host")
    parser.add_argument("--port", type=int, help="the lab's first ssh port")
    parser.add_argument("--owner", type=int, help="the pid whose end is the end of simulated hosts")
    parser.add_argument("--snapshot", default=FRESH)
    parser.add_argument("--timeout", type=float, default=600, help="seconds for a boot")
    return parser.parse_args()


def _status(host: Layout, describe: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    return {**host.record(), "pid": process.pid_of(host), "snapshots": host.snapshots(), **describe(host)}


def _prune(kind: type[Layout], options: argparse.Namespace, patterns: Sequence[str]) -> dict[str, Any]:
    wanted = {str(value) for host in kind.all(options.lab_dir) for value in host.record().values()} | {options.image}
    did = images.prune(kind.of(options.lab_dir, "any").images, patterns, wanted)
    return {"changed": bool(did), "did": " ".join(did)}


def _perform(kind: type[Layout], command: Command, options: argparse.Namespace) -> dict[str, Any]:
    hosts = [kind.of(options.lab_dir, name) for name in sorted(set(options.name))]
    with ExitStack() as locks:
        for host in hosts:  # in the order of their names: two runs cannot wait for each other
            locks.enter_context(_locked(host))
        begin = time.monotonic()
        outcomes = command(hosts, options)
    failed = [str(outcome) for outcome in outcomes.values() if isinstance(outcome, LabError)]
    if failed:
        raise LabError("\n\n".join(failed))
    return {"changed": any(outcomes.values()), "did": outcomes, "seconds": round(time.monotonic() - begin, 1)}


@contextmanager
def _locked(host: Layout) -> Iterator[None]:
    host.directory.mkdir(parents=True, exist_ok=True)
    with (host.directory.parent / f".{host.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        host.directory.mkdir(exist_ok=True)  # "absent" may have held the lock
        yield
