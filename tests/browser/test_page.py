# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person sees and does on the page of an audit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chromium import Browser
from fleets import DOWN, MADE, NASTY, VERDICTS, fleet, one_of_each
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from ansible_collections.stubdom.xen.plugins.filter.audit_report import audit_report

Write = Callable[[str, dict[str, Any]], Path]
ALL = len(VERDICTS) + 1  # and the one on the host that is away
GROUND = {"light": "rgb(246, 245, 242)", "dark": "rgb(19, 21, 25)"}


@pytest.fixture(scope="session")
def report() -> dict[str, Any]:
    return audit_report({"xen1": one_of_each(), "xen2": {"found": DOWN, "described": {"far": "running"}}}, MADE)


@pytest.fixture(scope="session")
def page(report: dict[str, Any], page_of: Write) -> Path:
    return page_of("one", report)


def typed(browser: Browser, *keys: str) -> None:
    ActionChains(browser.driver).send_keys(*keys).perform()
    browser.drawn()


# --- what there is


def test_every_guest_is_a_row_under_its_host_with_its_verdict(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.ask("verdicts", "#host-0") == VERDICTS
    assert browser.ask("verdicts", "#host-1") == {"far": "unreachable"}
    away = browser.ask("text", "#host-1")
    assert away.startswith("xen2") and "Connection timed out" in away
    assert browser.ask("text", "#headline").startswith(f"2 of {ALL} guests as described")


def test_counts_are_those_of_the_report(browser: Browser, page: Path, report: dict[str, Any]) -> None:
    browser.open(page)
    assert browser.ask("counts") == {word: count for word, count in report["summary"]["verdicts"].items() if count}


BELOW = {
    "secure": ["secure", "secure-dm", "runs its device model", "secure-vtpm", "holds its TPM", "How it came up", "vtpm-protocol"],
    "fat": ["What differs", "512MiB", "160MiB", NASTY, "needs reboot"],
    "more": ["vnc.password", "(hidden)", "disks[xvdb]", "target=/images/disk.img"],
    "lame": ["dead", "its stubdomain lame-dm", "wanted running", "only a new start helps"],
    "gone": ["no domain", "What a run would do", "let the guest run"],
    "wrong": ["file_unreadable", "/nowhere is missing on this host"],
    "strays": ["strays-dm", "serves nothing"],
}


@pytest.mark.parametrize("name", BELOW)
def test_what_is_below_a_guest(browser: Browser, page: Path, name: str) -> None:
    browser.open(page)
    browser.ask("openOnly", name)
    [text] = browser.ask("panels")
    assert [said for said in BELOW[name] if said.lower() not in text.lower()] == []


def test_nothing_is_made_below_a_guest_before_it_is_opened(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.ask("number", ".panel") == 0


def test_how_guests_came_up_is_bars_on_one_scale(browser: Browser, page: Path, report: dict[str, Any]) -> None:
    browser.open(page)
    browser.ask("view", "rollout")
    lanes = browser.ask("lanes")
    took = {g["name"]: g["rollout"]["took_s"] for host in report["hosts"] for g in host["guests"] if g["rollout"]}
    longest = report["summary"]["rollout"]["longest_s"]
    assert dict(lanes) == {name: pytest.approx(1000 * seconds / longest, abs=3) for name, seconds in took.items()}
    assert [width for _name, width in lanes] == sorted((width for _name, width in lanes), reverse=True)
    browser.run("document.querySelector('.lane').click()")
    browser.drawn()
    assert len(browser.ask("panels")) == 1, "a lane leads to its guest"


# --- what a guest wrote

SCRIPT = "<script>window.pwned = 1</script>"
NAMES = [
    SCRIPT,
    f"</script>{SCRIPT}",
    '"><img src=x onerror="window.pwned = 1">',
    "{{ 7 * 7 }}",
    "a&lt;b",
    "__proto__",
    "constructor",
]


def hostile(name: str) -> dict[str, Any]:
    """What a host returns that has a guest all of whose texts are its name."""
    link = {"link": name, "domain": 3, "path": name, "want": name, "value": name, "holds": False, "after_s": 1.0}
    left = [{"domid": 4, "name": name, "flags": name, "uuid": name}]
    guest = {
        "name": name, "state": "running", "domid": 1, "uuid": name, "managed": True, "spec": {"type": name},
        "stored": {name: name}, "live": {name: name}, "drift": [{"field": name, "live": name, "stored": name}],
        "stubdom": {"domid": 3, "name": name, "alive": False}, "readiness": [link], "leftovers": left,
    }  # fmt: skip
    refused = {"name": name, "failed": True, "code": name, "msg": name, "evidence": {name: name}, "hint": name}
    return {
        "found": {"guests": [guest], "leftovers": left}, "planned": [{"guests": [refused]}], "described": {name: "running"},
        "results": [{"name": name, "failed": True, "msg": name, "readiness": [link]}],
    }  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_what_a_guest_wrote_is_text(browser: Browser, page_of: Write, name: str) -> None:
    report = audit_report({name: hostile(name)}, MADE)
    browser.open(page_of("hostile", report))
    assert json.loads(browser.run("return JSON.stringify(report)")) == report
    for _turn in ("the guest", "its whole description"):
        browser.ask("openAll")
    assert name in browser.ask("panels")[0]
    browser.ask("view", "rollout")
    assert browser.run("return window.pwned") is None
    assert browser.ask("number", "script, img, iframe, object") == 2, "the report and the page's own"


def test_a_script_that_got_in_all_the_same_would_not_run(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.run("document.body.append(Object.assign(document.createElement('script'), { textContent: 'window.pwned = 1' }))")
    browser.drawn()
    assert browser.run("return window.pwned") is None
    assert any("Content Security Policy" in message for message in browser.complaints())


# --- finding


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("lame", ["lame"]),
        ("vcpus", ["byhand"]),
        ("reboot drifted", ["fat", "more"]),
        ("secure-dm", ["secure"]),
        ("SECURE", ["secure"]),
        ("xen2", ["far"]),
        ("nothing-of-the-kind", []),
    ],
)
def test_search(browser: Browser, page: Path, text: str, names: list[str]) -> None:
    browser.open(page)
    typed(browser, "/", text)
    assert sorted(browser.ask("names")) == names
    assert browser.ask("text", "#found").startswith(f"{len(names)} guest")
    typed(browser, Keys.ESCAPE)
    assert len(browser.ask("names")) == ALL


def test_only_some_verdicts_and_the_address_says_so(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.ask("press", ["degraded", "missing"])
    assert sorted(browser.ask("names")) == ["bare", "gone", "lame"]
    fragment = browser.run("return location.hash")
    browser.open(page, fragment)
    assert sorted(browser.ask("names")) == ["bare", "gone", "lame"], "it can be sent to somebody"
    browser.open(page, "#only=nonsense&view=nonsense&q=")
    assert len(browser.ask("names")) == ALL


def test_by_keys_alone(browser: Browser, page: Path) -> None:
    browser.open(page)
    typed(browser, "/", "drifted", Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ENTER)
    assert browser.run("return document.activeElement.querySelector('.name').textContent") == "fat"
    assert "512MiB" in browser.ask("panels")[0]
    typed(browser, Keys.ARROW_UP)
    assert browser.run("return document.activeElement.querySelector('.name').textContent") == "byhand"
    typed(browser, Keys.ARROW_UP)
    assert browser.run("return document.activeElement.id") == "search"


def test_every_control_has_a_name_and_can_be_reached(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.ask("unusable") == []


# --- how it looks


@pytest.mark.parametrize("scheme", GROUND)
def test_every_text_can_be_read(browser: Browser, page: Path, scheme: str) -> None:
    """4.5 to 1, as WCAG 2.2 asks in 1.4.3, with every guest open."""
    browser.look_like(scheme)
    browser.open(page)
    browser.ask("openAll")
    assert browser.ask("ground") == GROUND[scheme]
    assert browser.ask("unreadable", 4.5) == []
    browser.ask("view", "rollout")
    assert browser.ask("unreadable", 4.5) == []


def test_light_or_dark_by_hand(browser: Browser, page: Path) -> None:
    browser.look_like("dark")
    browser.open(page)
    seen = []
    for _turn in range(3):
        browser.run("document.getElementById('theme').click()")
        seen.append((browser.ask("text", "#theme"), browser.ask("ground")))
    assert seen == [("Light", GROUND["light"]), ("Dark", GROUND["dark"]), ("Auto", GROUND["dark"])]


@pytest.mark.parametrize("width", [320, 390, 800, 1280])
def test_no_width_has_to_be_scrolled_sideways(browser: Browser, page: Path, width: int) -> None:
    browser.look_like(width=width)
    browser.open(page)
    browser.ask("openAll")
    assert browser.run("return document.documentElement.scrollWidth") <= width


def test_on_paper_everything_is_there(browser: Browser, page_of: Write) -> None:
    report = fleet(300, 3)
    browser.open(page_of("paper", report))
    browser.run("window.dispatchEvent(new Event('beforeprint'))")
    assert len(browser.ask("names")) == report["summary"]["guests"]
    assert browser.ask("wrongOnPaper") == []


# --- a thousand

FEW, MANY = 10, 1000


def measured(browser: Browser, page: Path, times: int = 3) -> dict[str, float]:
    """The best of some: see `measure`."""
    found = []
    for _turn in range(times):
        browser.open(page)
        found.append(browser.ask("measure"))
    return {key: min(one[key] for one in found) for key in found[0]}


def test_a_thousand_guests_are_not_slow(browser: Browser, page_of: Write) -> None:
    """Held against a page of ten, as machines differ. What is not in sight is not made, so the page hardly grows."""
    few, many = (measured(browser, page_of(f"fleet{number}", fleet(number, hosts))) for number, hosts in ((FEW, 2), (MANY, 20)))
    print(f"\n{FEW} guests: {few}\n{MANY} guests: {many}")
    assert many["elements"] < 20 * few["elements"]
    assert many["paint_ms"] < 10 * few["paint_ms"]
    assert many["filter_ms"] < 10 * few["filter_ms"]


def test_a_host_of_a_thousand_is_made_as_one_comes_to_it(browser: Browser, page_of: Write) -> None:
    browser.open(page_of("one-host", fleet(MANY, 1)))
    browser.run("document.querySelector('.fold').click()")
    browser.drawn()
    made = len(browser.ask("names"))
    assert made < MANY / 2
    browser.run("window.scrollTo(0, document.body.scrollHeight)")
    browser.drawn()
    assert made < len(browser.ask("names")) < MANY
