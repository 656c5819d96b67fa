# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a Xen host: for each seed somebody is killed at a moment of a guest's life, and the same task is run again.

Its standard input is JSON: {"guests": {kind: options}, "seeds": [...]}, and with "moments" what is to happen instead of what
seeds would draw. It prints a line of JSON for each: what happened, and what was wrong afterwards, if anything.
"""

from __future__ import annotations

import glob
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, Optional

import runs
import seen
from moments import drawn, moments
from runs import sh
from stories import GUEST, HOME, STORIES, Story

NAME, BYSTANDER = "web", "bystander"
OTHERS = {"stubdom": f"{NAME}-dm", "tpm": f"{NAME}-vtpm"}  # kind of guest -> the domain beside its own
TPM_STATE = f"/var/lib/stubdom.xen/vtpm/{NAME}.img"  # which another guest of that name has left
FAULT, CALL, HIT, MISSED = (f"/run/fault{what}" for what in ("", ".call", ".hit", ".missed"))
DRAWS = 10  # moments of a seed that may not come
TURNS = 20  # of destroying what a killed xl left: a domain goes when nobody maps its pages any more
STRANGERS: set[int] = set()  # the domains that there were before
# Python is not started for a command that is not the one: an emulated host takes seconds for it.
XL = """#!/bin/sh
read -r call 2>/dev/null </run/fault.call && case "$*" in
  $call) exec /usr/bin/python3 -IS {home}/faulty_xl.py "$@" ;;
esac
exec /usr/sbin/xl "$@"
"""


def main() -> None:
    asked = json.load(sys.stdin)
    prepare(asked["guests"])
    for one in asked.get("moments") or asked["seeds"]:
        print(json.dumps(told(one, asked["guests"])), flush=True)


def prepare(guests: Mapping[str, Any]) -> None:
    """An xl that kills when told so, images for disks, another bridge, and a guest that nobody asks anything of."""
    os.makedirs(f"{HOME}/bin", exist_ok=True)
    with open(f"{HOME}/bin/xl", "w") as file:
        file.write(XL.format(home=HOME))
    os.chmod(f"{HOME}/bin/xl", 0o755)
    os.environ["PATH"] = f"{HOME}/bin:{os.environ['PATH']}"
    sh("ip", "link", "add", "xenbr1", "type", "bridge")
    for letter in "ab":
        filled(f"{HOME}/{letter}.img")
    runs.warm()
    seen.remember()
    stranger(guests["pvh"])
    STRANGERS.update(domain.domid for domain in seen.domains())


def filled(path: str) -> None:
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    with open(path, "wb") as file:
        file.write(random.Random(path).randbytes(1 << 16))


def is_as_it_was(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read() == random.Random(path).randbytes(1 << 16)


def stranger(guest: Mapping[str, Any]) -> None:
    """A guest of somebody else, without a monitor."""
    keys = {"name": BYSTANDER, "type": "pvh", **{key: guest[key] for key in ("kernel", "ramdisk", "cmdline") if key in guest}}
    with open(f"{HOME}/{BYSTANDER}.cfg", "w") as file:
        file.writelines(f'{key} = "{value}"\n' for key, value in keys.items())
        file.write(f"memory = {guest['memory'].replace('MiB', '')}\n")
    sh("xl", "create", "-q", "-e", f"{HOME}/{BYSTANDER}.cfg")  # a second one by that name is refused


def told(one: Any, guests: Mapping[str, Any]) -> dict[str, Any]:
    """What became of a seed, or of a moment: {"kind", "story", "moment"}."""
    began = time.monotonic()
    if isinstance(one, dict):
        kind, name, drawing = one["kind"], one["story"], iter([one["moment"]])
    else:
        rng = random.Random(one)
        kind, name = drawn(rng, sorted(guests))
        drawing = moments(rng, kind, STORIES[name])
    said = {"seed": one, "kind": kind, "story": name, "missed": []}
    for moment, _turn in zip(drawing, range(DRAWS)):
        said.update(moment=moment, **killed(STORIES[name], {"name": NAME, **GUEST, **guests[kind]}, kind, moment))
        if said["killed"] or said["wrong"]:
            break
        said["missed"].append({**moment, "lacked": said.pop("lacked")})
    return {**said, "seconds": round(time.monotonic() - began, 2)}


def killed(story: Story, guest: Mapping[str, Any], kind: str, moment: Mapping[str, Any]) -> dict[str, Any]:
    """The story with somebody killed at the moment. wrong: what was found that should not be."""
    if story.before is not None:
        made = runs.task({**guest, **story.before})
        if not made or made.get("failed"):
            return {"killed": None, "lacked": None, "wrong": [f"could not be prepared: {made}"]}
    before = seen.stored(NAME)
    if kind == "tpm":
        filled(TPM_STATE)
    asked = {**guest, **story.then} if story.then.get("state") != "absent" else {"name": NAME, **story.then}
    if story.reboots:
        sh("xl", "reboot", NAME)
    arm(moment)
    first = runs.task(asked)
    hit, lacked = disarmed()
    if not hit and first and first.get("failed"):
        lacked = f"{lacked}, and the task failed: {first}"
    wrong = []
    if hit:
        wrong += answers(story, moment["whom"], first, runs.task(asked), runs.task(asked))
        runs.await_xl(runs.is_command)  # one that was left alone may still be about to do what it was told
        wrong += found(story, guest, kind, before)
    wrong += cleared()
    return {"killed": hit, "lacked": lacked, "wrong": wrong}


def arm(moment: Mapping[str, Any]) -> None:
    for path, text in ((FAULT, json.dumps(moment)), (CALL, moment["call"])):
        with open(path, "w") as file:
            file.write(f"{text}\n")


def disarmed() -> tuple[Optional[str], Optional[str]]:
    """(in which command of xl somebody was killed, what was left of the fault). One of them is None."""
    found = {}
    os.unlink(CALL)
    for file in (HIT, MISSED, FAULT):
        if os.path.exists(file):
            with open(file) as stream:
                found[file] = stream.read()
            os.unlink(file)
    return found.get(HIT), found.get(MISSED) or found.get(FAULT)


def answers(
    story: Story, whom: list[str], first: Any, second: Optional[dict[str, Any]], third: Optional[dict[str, Any]]
) -> Iterator[str]:
    """What is wrong with what the runs said."""
    if (first is None) != ("module" in whom):
        yield f"{whom} were to be killed, and the first run says {first}"
    if first is not None and first.get("failed") and first.get("code", "unforeseen") == "unforeseen":
        yield f"the first run has no word for its failure: {first}"
    for which, run in (("second", second), ("third", third)):
        if run is None or run.get("failed"):
            yield f"the {which} run failed: {run}"
            return
        if (run["guest"]["state"], run["leftovers"]) != (story.then.get("state", "running"), []):
            yield f"the {which} run left {run['guest']['state']}, {run['leftovers']}"
    if third["changed"]:
        yield f"the third run had something to do: {third['plan']}"
    waits = [entry["field"] for entry in third["pending"]]
    if waits != list(story.waits) and not (story.reboots and not waits):
        yield f"what waits is {waits}, not {list(story.waits)}"


def found(story: Story, guest: Mapping[str, Any], kind: str, before: Optional[Mapping[str, Any]]) -> Iterator[str]:
    """What is wrong with the host."""
    there, state = seen.domains(), story.then.get("state", "running")
    names = [NAME, *([OTHERS[kind]] if kind in OTHERS else [])] if state in ("running", "paused") else []
    own = [domain for domain in there if domain.domid not in STRANGERS]
    if sorted(domain.name for domain in own) != sorted(names) or len(own) + len(STRANGERS) != len(there):
        yield f"the domains are {there}"
    for domain in own:
        if set(domain.flags) & set("scd") or ("p" in domain.flags) != (domain.name == NAME and state == "paused"):
            yield f"{domain.name} has the flags {domain.flags}"
    if kind == "tpm" and not os.path.exists(TPM_STATE):
        yield "the state of its TPM is gone"
    yield from described(story, guest, before, bool(names))
    yield from seen.strays(NAME, there)


def described(story: Story, guest: Mapping[str, Any], before: Optional[Mapping[str, Any]], runs_now: bool) -> Iterator[str]:
    """How the guest's file and its domain differ from what is described, and from what it was before."""
    wanted, file = {**guest, **story.then}, seen.stored(NAME)
    if story.then.get("state") == "absent":
        if file is not None:
            yield f"it still has a file: {file}"
        return
    if file is None:
        yield "it has no file"
        return
    if before is not None and (file["uuid"], macs(file)) != (before["uuid"], macs(before)):
        yield f"it is another machine: {file}, before {before}"
    yield from differs("its file", wanted, file, ())
    domain = seen.live(NAME) if runs_now else None
    if domain is not None:
        yield from differs("its domain", wanted, domain, story.waits)
        if (domain["uuid"], macs(domain)) != (file["uuid"], macs(file)):
            yield f"its domain is another machine than its file says: {domain}, {file}"
    elif runs_now:
        yield "libxl cannot describe its domain"
    if story.waits and domain is not None and domain["max_vcpus"] != wanted["max_vcpus"]:
        with open(seen.path(NAME)) as text:
            if seen.queued(NAME) != text.read():
                yield "what waits would not come with the guest's own reboot"


def macs(guest: Mapping[str, Any]) -> list[str]:
    return [mac for mac, _bridge in guest["nics"]]


def differs(what: str, wanted: Mapping[str, Any], have: Mapping[str, Any], waits: tuple[str, ...]) -> Iterator[str]:
    """As far as the stories change it."""
    asked = {
        "memory": int(wanted["memory"].replace("MiB", "")),
        "vcpus": wanted["vcpus"],
        "max_vcpus": wanted["max_vcpus"],
        "disks": sorted((disk["vdev"], disk["target"]) for disk in wanted["disks"]),
        "bridges": [nic["bridge"] for nic in wanted["nics"]],
    }
    has = {**have, "bridges": [bridge for _mac, bridge in have["nics"]]}
    for field, value in asked.items():
        if field not in waits and has[field] != value:
            yield f"{what} has {field} {has[field]}, not {value}"


def ours() -> list[int]:
    """The guest's domains, and those that have lost their names."""
    return [d.domid for d in seen.domains() if d.domid not in STRANGERS and d.name in (NAME, *OTHERS.values(), "(null)")]


def cleared() -> list[str]:
    """Takes the guest away by hand. What is wrong with its disks, and what cannot be taken away."""
    wrong = []
    for image in (f"{HOME}/a.img", f"{HOME}/b.img", *glob.glob(TPM_STATE)):
        if not is_as_it_was(image):
            wrong.append(f"{image} is not as it was")
    for turn in range(TURNS):
        left = ours()
        for domid in left:
            sh("xl", "destroy", str(domid))
        runs.await_xl()
        if not left and turn:
            break
    wrong += [*(f"domain {domid} cannot be destroyed" for domid in left), *seen.cleared()]
    for name in (NAME, OTHERS["tpm"]):
        for file in (seen.path(name), f"/etc/xen/auto/{name}.cfg", f"{seen.CACHE}/{name}.json", f"{seen.LOCKS}/{name}"):
            if os.path.lexists(file):
                os.unlink(file)
    if os.path.exists(TPM_STATE):
        os.unlink(TPM_STATE)
    return wrong


if __name__ == "__main__":
    try:
        main()
    except subprocess.SubprocessError as error:
        sys.exit(str(error))
