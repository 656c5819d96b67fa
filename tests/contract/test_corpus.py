# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files as people write them, and xl itself: what from_xl_cfg reads in one and to_xl_cfg writes is the same guest to xl."""

from __future__ import annotations

import base64
import io
import json
import re
import tarfile
from typing import Any

import pytest
import yaml
from xenhost import ROOT, Host

from ansible_collections.stubdom.xen.plugins.filter.from_xl_cfg import from_xl_cfg
from ansible_collections.stubdom.xen.plugins.filter.to_xl_cfg import to_xl_cfg

pytestmark = pytest.mark.no_guest_code

CORPUS = ROOT / "tests/unit/corpus"
TEXTS = {path.stem: path.read_text(encoding="utf-8") for path in sorted(CORPUS.glob("*.cfg"))}
AGAIN = {name: to_xl_cfg(from_xl_cfg(text)) for name, text in TEXTS.items()}
REFUSED = {row["case"]: row for row in yaml.safe_load((CORPUS / "refused.yml").read_text(encoding="utf-8"))}
# What xl prints for a file, which it does not carry out; where that is nothing, what it said.
LOOK = 'for f in *; do echo "=== $f"; xl create -n -q "$f" 2>/tmp/said || cat /tmp/said; done; rm -rf /root/corpus /tmp/said'

Told = dict[str, list[str]]


@pytest.fixture(scope="module")
def told(xen: Host) -> Told:
    """What xl tells of each file as it is and written anew, and of each text that it refuses."""
    kinds = {"is": TEXTS, "again": AGAIN, "refused": {case: row["text"] for case, row in REFUSED.items()}}
    texts = [text for kind in kinds.values() for text in kind.values()]
    xen.sh(f"mkdir /root/corpus && echo {packed(texts)} | base64 -d | tar xz -C /root/corpus")
    heard = iter(re.split(r"^=== \d+\n", xen.sh(f"cd /root/corpus; {LOOK}") + "\n", flags=re.M)[1:])
    return {kind: [next(heard) for _text in texts] for kind, texts in kinds.items()}


def packed(texts: list[str]) -> str:
    """The texts as files whose names sort as the texts stand."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for number, text in enumerate(texts):
            entry = tarfile.TarInfo(f"{number:04}")
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    return base64.b64encode(archive.getvalue()).decode()


def meant(said: str, text: str) -> dict[str, Any]:
    """The guest that xl understood, without a UUID that it made up, and with one spelling of an empty drive.

    Its path is the empty text or none: libxl takes both alike (libxl__device_disk_set_backend in libxl_device.c, 4.17).
    """
    guest: dict[str, Any] = json.loads(said)
    if "uuid" not in from_xl_cfg(text):
        del guest["c_info"]["uuid"]
    for disk in guest.get("disks", []):
        if disk.get("pdev_path") == "":
            del disk["pdev_path"]
    return guest


def test_xl_takes_every_file(told: Told) -> None:
    assert {name: said for name, said in zip(TEXTS, told["is"]) if not said.startswith("{")} == {}


def test_written_anew_it_is_the_same_guest_to_xl(told: Told) -> None:
    pairs = {name: (told["is"][i], told["again"][i]) for i, name in enumerate(TEXTS)}
    differing = {name: pair for name, pair in pairs.items() if meant(pair[0], TEXTS[name]) != meant(pair[1], TEXTS[name])}
    assert differing == {}


def test_xl_refuses_what_is_refused_here_in_the_same_line(told: Told) -> None:
    lines = {case: re.findall(r"^\d+:(\d+): config parsing error", said, re.M) for case, said in zip(REFUSED, told["refused"])}
    assert {case for case, said in zip(REFUSED, told["refused"]) if said.startswith("{")} == set()
    assert {case: int(found[0]) if found else None for case, found in lines.items()} == {
        case: row.get("to_xl", row.get("line")) for case, row in REFUSED.items()
    }
