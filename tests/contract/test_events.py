# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The event source on a Xen host: what it tells while guests are made, broken, mended and destroyed."""

from __future__ import annotations

import asyncio
import runpy
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from event_story import way
from xenhost import PULL_THE_PLUG, ROOT, Host

pytestmark = pytest.mark.no_guest_code

SOURCE = ROOT / "extensions/eda/plugins/event_source/xenstore.py"
LIMIT = 900  # seconds: against hanging
SETTLE = 1


class Watched:
    """The source in a loop and a thread of its own; the events are taken one by one."""

    def __init__(self, command: list[str]) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.queue: Any = self._run(_made(asyncio.Queue))
        main = runpy.run_path(str(SOURCE))["main"]
        self.source = asyncio.run_coroutine_threadsafe(main(self.queue, {"hosts": {"x": command}, "settle": SETTLE}), self.loop)

    def next(self, *kinds: str) -> dict[str, Any]:
        """The next event, which is to be of one of these kinds."""
        event: dict[str, Any] = self._run(asyncio.wait_for(self.queue.get(), LIMIT))
        assert event["type"] in kinds, event
        return event

    def _run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(LIMIT + 60)

    def close(self) -> None:
        self.source.cancel()
        self._run(_made(_others_ended))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()


async def _made(what: Any) -> Any:
    found = what()
    return await found if asyncio.iscoroutine(found) else found


async def _others_ended() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.wait(others) if others else None


@pytest.fixture
def watched(xen: Host) -> Iterator[Watched]:
    found = Watched(way(xen))
    yield found
    found.close()


def test_a_guest_comes_loses_its_stubdomain_is_mended_and_goes(xen: Host, watched: Watched) -> None:
    guest = xen.described("stubdom", "vault")
    made = xen.guest(**guest)["guest"]
    came = watched.next("appeared")
    assert (came["guest"], came["uuid"], came["domid"], came["host"]) == ("vault", made["uuid"], made["domid"], "x")

    stubdom = made["stubdom"]["domid"]
    xen.sh(f"xl destroy {stubdom}; echo gone")
    broken = watched.next("degraded")
    assert broken["evidence"]["lost_domains"] == [stubdom]
    assert broken["evidence"]["links"][0]["link"] == "device-model"

    mended = xen.guest(name="vault", disruption="recreate")["guest"]
    assert watched.next("gone")["domid"] == made["domid"]
    assert watched.next("appeared")["domid"] == mended["domid"]
    assert watched.next("recovered")["domid"] == mended["domid"]

    xen.guest(name="vault", state="absent", **PULL_THE_PLUG)
    assert watched.next("gone")["domid"] == mended["domid"], "it lost its stubdomain first, and was not told to be degraded"


def test_a_tpm_s_domain_that_dies(xen: Host, watched: Watched) -> None:
    xen.have_tpm_image()
    xen.guest(**xen.described("pvh", "sealed"), vtpm=[{"kind": "stubdom"}])
    came = {watched.next("appeared")["guest"] for _domain in range(2)}
    assert came == {"sealed", "sealed-vtpm"}
    tpm = xen.domid("sealed-vtpm")
    xen.sh(f"xl destroy {tpm}; echo gone")
    told = [watched.next("gone", "degraded") for _event in range(2)]
    assert {event["type"]: event["guest"] for event in told} == {"gone": "sealed-vtpm", "degraded": "sealed"}
    assert next(event for event in told if event["type"] == "degraded")["evidence"]["lost_domains"] == [tpm]
    xen.guest(name="sealed", state="absent", **PULL_THE_PLUG)


def test_a_host_that_is_lost_and_found(xen: Host, watched: Watched) -> None:
    """Its program ends, whoever ended it; what happened meanwhile is told when the host is back."""
    xen.guest(**xen.described("pvh", "web"))
    watched.next("appeared")
    xen.sh("pkill -f '^python3 -$'; echo ended")
    assert "ended with" in watched.next("host_lost")["evidence"]["reason"]
    watched.next("host_back")
    xen.guest(name="web", state="absent", **PULL_THE_PLUG)
    assert watched.next("gone")["guest"] == "web"
