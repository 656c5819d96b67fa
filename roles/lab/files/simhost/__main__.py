# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulated hosts: python simhost COMMAND LAB_DIR NAME... [options]. Prints {"changed": ..., "did": {NAME: ...}} as JSON."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "runner"))

import birth
import filesystem
import frame
import process
import program
from layout import FRESH, LabError
from simulated import SimulatedHost


def start(hosts: list[SimulatedHost], options: argparse.Namespace) -> frame.Outcomes:
    """Have the hosts run on the given image; one that is made of something else is made anew."""
    outcomes: frame.Outcomes = dict.fromkeys((host.name for host in hosts), "")
    waiting = []
    for host in hosts:
        wanted = _wanted(host, options)
        outdated = any(host.record().get(key) != value for key, value in wanted.items())
        if process.pid_of(host) and not outdated:
            continue
        process.stop(host, gently=False)
        if outdated:
            shutil.rmtree(host.saved, ignore_errors=True)
        host.write_record(wanted)
        waiting.append(host)
    return outcomes | _boot(waiting, options, "started at snapshot")


def ready(host: SimulatedHost, options: argparse.Namespace) -> str:
    """start waits for that; a host that ended since then is none."""
    process.require_running(host)
    return ""


def save(host: SimulatedHost, options: argparse.Namespace) -> str:
    """Save the running host's own layer, over a snapshot of the same name."""
    process.require_running(host)
    pid = process.pid_of(host) or 0
    if options.snapshot == FRESH:
        raise LabError(
            f"{host.name} has a snapshot {FRESH} that is never saved: the host as it starts first. Choose another name."
        )
    if guests := host.guests(pid):
        raise LabError(
            f"{host.name} was to be saved, but has guests, of which a snapshot keeps nothing: domid {', '.join(guests)}."
            " End them first (state: halted)."
        )
    filesystem.save(host.layer(pid), host.snapshot(options.snapshot))
    return f"snapshot {options.snapshot} saved"


def reset(hosts: list[SimulatedHost], options: argparse.Namespace) -> frame.Outcomes:
    """Take the hosts back to a snapshot, running or not."""
    there = [host for host in hosts if host.record()]
    missing: frame.Outcomes = {
        host.name: LabError(f"{host.name} was to go to a snapshot, but there is no such host. Start it first ({host.make}).")
        for host in hosts
        if host not in there
    }
    for host in there:
        host.require_snapshot(options.snapshot)
    for host in there:
        process.stop(host, gently=False)
    return missing | _boot(there, options, "back at snapshot")


def stop(host: SimulatedHost, options: argparse.Namespace) -> str:
    return "stopped" if process.stop(host, gently=False) else ""


def absent(host: SimulatedHost, options: argparse.Namespace) -> str:
    there = bool(host.record())
    stop(host, options)
    shutil.rmtree(host.directory, ignore_errors=True)
    return "removed" if there else ""


COMMANDS = {
    "start": start,
    "reset": reset,
    **{function.__name__: frame.each(function) for function in (ready, save, stop, absent)},
}


def _wanted(host: SimulatedHost, options: argparse.Namespace) -> dict[str, Any]:
    rootfs = (host.images / options.image / "rootfs/root").resolve()
    return {
        "image": options.image,
        "memory": options.memory,
        "cpus": options.cpus,
        "xenstored": options.xenstored,
        "program": program.layer(host.images, rootfs).name,
    }


def _boot(hosts: list[SimulatedHost], options: argparse.Namespace, did: str) -> frame.Outcomes:
    """Start them all, then wait for them all."""
    deadline = time.monotonic() + options.timeout
    begun = []
    outcomes: frame.Outcomes = {}
    for host in hosts:
        try:
            begun.append((host, birth.begin(_plan(host, options))))
        except LabError as error:
            outcomes[host.name] = error
    for host, says in begun:
        reason = birth.await_ready(host, says, deadline)
        outcomes[host.name] = _not_ready(host, reason) if reason else f"{did} {options.snapshot}"
    return outcomes


def _plan(host: SimulatedHost, options: argparse.Namespace) -> birth.Plan:
    host.require_snapshot(options.snapshot)
    record = host.record()
    lower = [host.images / record["program"], host.image() / "layer", (host.image() / "rootfs/root").resolve()]
    snapshot = None if options.snapshot == FRESH else host.snapshot(options.snapshot)
    return birth.Plan(host, lower, snapshot, record["memory"], record["cpus"], record.get("xenstored", "ocaml"), options.owner)


def _not_ready(host: SimulatedHost, reason: str) -> LabError:
    process.stop(host, gently=False)  # half started it is of no use to the next run
    return LabError(
        f"{host.name} was to start, but: {reason}\nThe end of {host.console_log} is:\n{host.console_end()}\n"
        f"Then try again: {host.make}"
    )


if __name__ == "__main__":
    frame.main(
        SimulatedHost, COMMANDS, patterns=("simulated-*", "program-*"), describe=lambda host: {"pidfile": str(host.pidfile)}
    )
