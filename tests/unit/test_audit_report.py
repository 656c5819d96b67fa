# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of an audit: what each guest is called and why, that none is lost, and that no secret and no odd text gets in."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError
from fleets import DOWN, MADE, NASTY, SECRETS, VERDICTS, fleet, one_of_each
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.stubdom.xen.plugins.filter.audit_report import FilterModule, audit_report
from ansible_collections.stubdom.xen.plugins.filter.audit_table import audit_table
from ansible_collections.stubdom.xen.plugins.module_utils.masking import MASK
from ansible_collections.stubdom.xen.plugins.plugin_utils.audit_differences import differences
from ansible_collections.stubdom.xen.plugins.plugin_utils.audit_report import guest_of
from ansible_collections.stubdom.xen.plugins.plugin_utils.audit_verdict import WORDS, Sight, verdict


@pytest.fixture(scope="module")
def seen():
    return one_of_each()


@pytest.fixture(scope="module")
def report(seen):
    return audit_report({"xen1": seen, "xen2": {"found": DOWN, "described": {"far": "running"}}}, MADE)


@pytest.fixture(scope="module")
def guests(report):
    return {guest["name"]: guest for host in report["hosts"] for guest in host["guests"]}


# --- verdicts

DESCRIBED = Sight(True, "running", "running")
JUDGED = {
    "as described": (DESCRIBED, "as_described"),
    "wanted halted, and halted": (DESCRIBED._replace(state="halted", wanted="halted"), "as_described"),
    "wanted absent, and absent": (DESCRIBED._replace(state="absent", wanted="absent"), "as_described"),
    "wanted absent, and there": (DESCRIBED._replace(wanted="absent", steps=("shutdown", "forget")), "drifted"),
    "a file to write": (DESCRIBED._replace(steps=("store",)), "drifted"),
    "something that waits": (DESCRIBED._replace(pending=1), "drifted"),
    "its file and its domain differ where its description ignores it": (DESCRIBED._replace(drift=1), "as_described"),
    "halted, wanted running": (DESCRIBED._replace(state="halted", steps=("create", "await", "unpause")), "drifted"),
    "shut down by itself": (DESCRIBED._replace(state="shutdown", steps=("clear", "create")), "drifted"),
    "nothing of it": (DESCRIBED._replace(state="absent", steps=("store", "create")), "missing"),
    "nothing of it, and refused": (DESCRIBED._replace(state="absent", refused=True), "refused"),
    "runs, and is refused": (DESCRIBED._replace(refused=True), "refused"),
    "a dead stubdomain": (DESCRIBED._replace(state="degraded", pending=1), "degraded"),
    "a device model that does not answer": (DESCRIBED._replace(state="opaque", refused=True), "degraded"),
    "half made": (DESCRIBED._replace(state="half_made", steps=("clear", "create")), "degraded"),
    "crashed": (DESCRIBED._replace(state="crashed"), "degraded"),
    "saving was broken off": (DESCRIBED._replace(state="suspended"), "degraded"),
    "it runs, and a link does not hold": (DESCRIBED._replace(broken_links=1), "degraded"),
    "it is paused, and a link does not hold": (
        DESCRIBED._replace(state="paused", wanted="paused", broken_links=1),
        "as_described",
    ),
    "a domain is left over": (DESCRIBED._replace(leftovers=1, steps=("sweep",)), "leftovers"),
    "a domain is left over, and more": (DESCRIBED._replace(leftovers=1, steps=("sweep", "store")), "drifted"),
    "not described": (Sight(False, "running"), "not_described"),
    "not described, halted": (Sight(False, "halted"), "not_described"),
    "not described, and its file says otherwise": (Sight(False, "running", drift=1), "drifted"),
    "not described, and a domain is left over": (Sight(False, "running", leftovers=1), "leftovers"),
    "not described, and degraded": (Sight(False, "degraded"), "degraded"),
    "its host is away": (Sight(True, None, "running", refused=True), "unreachable"),
}


@pytest.mark.parametrize("case", JUDGED)
def test_verdict(case):
    sight, word = JUDGED[case]
    assert verdict(sight) == word


def test_every_verdict_has_a_case():
    assert {word for _sight, word in JUDGED.values()} == set(WORDS)


@pytest.mark.parametrize("name", VERDICTS)
def test_the_guests_of_a_host(guests, name):
    assert guests[name]["verdict"] == VERDICTS[name]


# --- what is told of a guest

DIFFERS = {
    "fat": {"memory": ("512MiB", "160MiB", "160MiB"), "cmdline": (NASTY, None, None)},
    "more": {
        "vnc.password": (MASK, MASK, MASK),
        "disks[xvdb]": ({"vdev": "xvdb", "target": "/images/disk.img", "format": "raw", "access": "rw"}, None, None),
    },
    "byhand": {"vcpus": (None, 1, 2)},
    "gone": {"file": ("/etc/xen/gone.cfg", None, None)},
    "fine": {},
    "lame": {},
}


@pytest.mark.parametrize("name", DIFFERS)
def test_the_three_truths_of_what_differs_and_of_nothing_else(guests, name):
    rows = {row["field"]: (row["desired"], row["stored"], row["live"]) for row in guests[name]["differs"]}
    assert rows == DIFFERS[name]


def waits(field, before, after):
    return {"field": field, "from": before, "to": after, "needs": "reboot", "reason": ""}


def store(field, before, after):
    return {"step": "store", "field": field, "from": before, "to": after}


XVDA, XVDB = {"vdev": "xvda", "target": "/a"}, {"vdev": "xvdb", "target": "/b"}
ROWS = {
    "a size in bytes is told as people write it": (
        {"pending": [waits("memory", 1 << 30, 1 << 31)], "stored": {"memory": "2GiB"}},
        [("memory", "2GiB", "2GiB", "1GiB")],
    ),
    "a field of a field": (
        {"drift": [{"field": "vnc.listen", "live": "::", "stored": None}], "desired": {"vnc": {"listen": "::"}}},
        [("vnc.listen", "::", None, "::")],
    ),
    "a list in a file is told device by device": (
        {"plan": [store("disks", [XVDA, XVDB], [XVDA, {**XVDB, "target": "/c"}])], "live": {"disks": [XVDA]}},
        [("disks[xvdb]", {**XVDB, "target": "/c"}, XVDB, None)],
    ),
    "the same device in file and domain is one row": (
        {"plan": [store("disks", [XVDA], [XVDA, XVDB])], "pending": [waits("disks[xvdb]", None, XVDB)]},
        [("disks[xvdb]", XVDB, None, None)],
    ),
    "a state is no field": ({"pending": [waits("state", "degraded", "running")]}, []),
    "a file that is not there": (
        {"plan": [store("file", None, "/etc/xen/a.cfg")], "live": {"file": "?"}},
        [("file", "/etc/xen/a.cfg", None, None)],
    ),
    "a file that xl refuses": (
        {"drift": [{"field": "file", "from": None, "to": None, "reason": "xl refuses it"}]},
        [("file", None, None, None)],
    ),
}


@pytest.mark.parametrize("case", ROWS)
def test_rows(case):
    given_, rows = ROWS[case]
    given_ = {"desired": None, "stored": None, "live": None, "plan": [], "pending": [], "drift": [], **given_}
    assert [(row["field"], row["desired"], row["stored"], row["live"]) for row in differences(**given_)] == rows


def test_why_a_guest_is_degraded(guests):
    assert guests["lame"]["evidence"][-1] == f"its stubdomain lame-dm (domid {guests['lame']['domains'][1]['domid']}) is dead"
    assert guests["bare"]["evidence"][-1] == "the domain of its TPM, bare-vtpm, is gone"
    assert "only a new start helps" in guests["lame"]["evidence"][1], "what the plan says of it"
    assert [link["link"] for link in guests["lame"]["readiness"] if not link["holds"]]
    assert all(guests[name]["evidence"] == [] for name, word in VERDICTS.items() if word != "degraded")


GONE = {"domid": None, "alive": False, "ready": False}
TPMS = {
    "a domain that is gone": ({"name": "a-vtpm", **GONE}, "the domain of its TPM, a-vtpm, is gone"),
    "a domain that is silent": (
        {"name": "a-vtpm", "domid": 4, "alive": True, "ready": False}, "a-vtpm (domid 4), which holds its TPM, does not serve it",
    ),
    "an emulator that is gone": ({"name": "swtpm", **GONE, "domid": 0}, "the emulator of its TPM, swtpm, is gone"),
}  # fmt: skip


@pytest.mark.parametrize("case", TPMS)
def test_a_tpm_that_does_not_serve_is_evidence(case):
    tpm, said = TPMS[case]
    told = guest_of("a", {"name": "a", "state": "degraded", "domid": 3, "vtpm": [tpm]}, None, None)
    assert told["evidence"][-1] == said
    assert [(domain["role"], domain["alive"]) for domain in told["domains"]] == [("guest", True), ("vtpm", tpm["alive"])]


def test_what_it_would_take(guests):
    assert {name: guests[name]["needs"] for name in ("fine", "fat", "more", "lame", "bare", "unknown")} == {
        "fine": None, "fat": "reboot", "more": "reboot", "lame": "recreate", "bare": "reboot", "unknown": None,
    }  # fmt: skip
    assert guests["gone"]["plan"][-1]["says"] == "let the guest run"
    assert guests["wrong"]["error"]["code"] == "file_unreadable"


def test_the_domains_of_a_guest_are_told_with_it(guests):
    told = [(domain["role"], domain["name"], domain["alive"]) for domain in guests["secure"]["domains"]]
    assert told == [("guest", "secure", True), ("stubdomain", "secure-dm", True), ("vtpm", "secure-vtpm", True)]
    assert "secure-vtpm" not in guests
    assert guests["strays"]["domains"][-1]["role"] == "leftover"


def test_a_tpm_without_its_guest_is_told_by_itself(seen):
    [tpm] = [guest for guest in seen["found"]["guests"] if guest["name"] == "secure-vtpm"]
    [host] = audit_report({"xen1": {"found": {"guests": [tpm]}}}, MADE)["hosts"]
    assert [guest["name"] for guest in host["guests"]] == ["secure-vtpm"]


def test_how_a_guest_came_up(guests, seen):
    links = {guest["name"]: guest["readiness"] for guest in seen["results"]["guests"]}["secure"]
    told = guests["secure"]["rollout"]
    assert [(link["link"], link["after_s"]) for link in told["links"]] == [(link["link"], link["after_s"]) for link in links]
    assert told["took_s"] == max(link["after_s"] for link in links) > 0
    assert guests["byhand"]["rollout"] is None


def test_a_guest_that_was_up_before_the_rollout_has_nothing_to_tell(seen):
    untimed = {
        **seen["results"],
        "guests": [
            {**guest, "plan": [], "readiness": [{**link, "after_s": None} for link in guest["readiness"]]}
            for guest in seen["results"]["guests"]
        ],
    }
    report = audit_report({"xen1": {**seen, "results": untimed}}, MADE)
    assert report["summary"]["rollout"] is None
    assert [guest["rollout"] for guest in report["hosts"][0]["guests"]] == [None] * len(VERDICTS)


def test_how_a_guest_failed_to_come_up(seen):
    links = [{"link": "device-model", "domain": 3, "path": "/x", "want": "running", "value": None, "after_s": None}]
    failed = {"name": "fine", "failed": True, "code": "stubdom_failed", "msg": "why", "evidence": {"links": links}}
    [host] = audit_report({"xen1": {**seen, "results": [failed]}}, MADE)["hosts"]
    told = {guest["name"]: guest["rollout"] for guest in host["guests"]}["fine"]
    assert (told["failed"], told["error"]["code"], told["links"][0]["after_s"]) == (True, "stubdom_failed", None)


# --- hosts


def test_a_host_that_is_away_is_a_row_and_so_are_its_guests(report):
    away = report["hosts"][1]
    assert (away["state"], away["error"]["code"], away["xen"]) == ("unreachable", "unreachable", None)
    assert [(guest["name"], guest["verdict"]) for guest in away["guests"]] == [("far", "unreachable")]
    assert report["summary"]["hosts_by_state"] == {"audited": 1, "unreachable": 1, "failed": 0}


HOSTS = {
    "it is no dom0": ({"found": {"failed": True, "code": "xl_failed", "msg": "no"}}, "failed", "xl_failed"),
    "a module that broke": ({"found": {"failed": True, "msg": "MODULE FAILURE", "rc": 1}}, "failed", None),
    "the inventory has a mistake": (
        {"found": {"guests": []}, "planned": [{"failed": True, "msg": "'x' is undefined"}]}, "audited", None,
    ),
    "it went away in between": (
        {"found": {"guests": []}, "planned": [{"unreachable": True, "msg": "gone"}]}, "audited", "unreachable",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTS)
def test_a_host_that_cannot_tell_all(case):
    told, state, code = HOSTS[case]
    report = audit_report({"xen1": told}, MADE)
    [host] = report["hosts"]
    assert (host["state"], host["error"]["code"], report["summary"]["errors"]) == (state, code, 1)
    assert host["error"]["msg"]


def test_a_set_that_is_refused_as_a_whole_is_judged_guest_by_guest(seen):
    """One wrong description is that guest's matter. Where a task gave the module one guest, `item` is its name."""
    whole = {"failed": True, "code": "invalid_input", "msg": "firmware: 'x' cannot be used"}
    alone = [{"guests": [guest], "item": guest["name"]} for guest in seen["planned"][0]["guests"] if guest["name"] != "fine"]
    told = {**seen, "planned": [*alone, {**whole, "item": "fine"}, whole]}
    [host] = audit_report({"xen1": told}, MADE)["hosts"]
    verdicts = {guest["name"]: guest["verdict"] for guest in host["guests"]}
    assert verdicts == {**VERDICTS, "fine": "refused"}
    assert host["error"]["code"] == "invalid_input"


# --- laws

NAMES = st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=6), unique=True, max_size=6)
STATES = st.sampled_from(["absent", "halted", "running", "paused", "degraded", "opaque", "half_made", "crashed", "shutdown"])


@st.composite
def hosts(draw):
    found = [{"name": name, "state": draw(STATES), "readiness": [], "leftovers": []} for name in draw(NAMES)]
    planned = [
        {"name": name, "failed": draw(st.booleans()), "msg": name, "plan": [], "pending": [], "guest": {"spec": {"name": name}}}
        for name in draw(NAMES)
    ]
    asked = draw(st.sampled_from([{"guests": found}, DOWN, {"failed": True, "msg": "no"}]))
    described = draw(
        st.none() | st.dictionaries(st.text(max_size=4), st.sampled_from(["running", "absent", "halted"]), max_size=4)
    )
    return {"found": asked, "planned": [{"guests": planned}], "described": described, "results": []}


def names_in(told):
    return {guest["name"] for part in (told["found"], *told["planned"]) for guest in part.get("guests", ())} | set(
        told["described"] or ()
    )


def harmless(name):
    return "".join(c if unicodedata.category(c)[0] not in "C" and c not in "\u2028\u2029" else "?" for c in name)


@given(st.dictionaries(st.sampled_from("abc"), hosts()))
def test_every_guest_is_there_once_and_counted_once(seen):
    report = audit_report(seen, MADE)
    assert [host["name"] for host in report["hosts"]] == sorted(seen)
    for host in report["hosts"]:
        assert len(host["guests"]) == len(names_in(seen[host["name"]]))
        assert sum(host["verdicts"].values()) == len(host["guests"])
        assert all(guest["verdict"] in WORDS for guest in host["guests"])
    assert sum(report["summary"]["verdicts"].values()) == report["summary"]["guests"]
    assert tuple(report["summary"]["verdicts"]) == WORDS


@given(st.dictionaries(st.sampled_from("abc"), hosts()))
def test_nothing_in_it_acts_on_a_terminal(seen):
    text = json.dumps(audit_report(seen, MADE), ensure_ascii=False).replace("\\n", "").replace("\\t", "")
    assert not [c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]


def test_no_secret_is_told(report):
    text = json.dumps(report)
    assert MASK in text and not any(secret in text for secret in SECRETS)


def test_what_a_task_was_given_is_not_taken_over(seen):
    given_ = {"invocation": {"module_args": {"vnc": {"password": SECRETS[0]}}}}
    found = {**seen["found"], **given_, "guests": [{**guest, **given_} for guest in seen["found"]["guests"]]}
    planned = [{**seen["planned"][0], **given_, "guests": [{**guest, **given_} for guest in seen["planned"][0]["guests"]]}]
    assert SECRETS[0] not in json.dumps(audit_report({"xen1": {**seen, "found": found, "planned": planned}}, MADE))


def test_it_is_plain_data(report):
    assert json.loads(json.dumps(report)) == report
    assert (report["schema"], report["made"]) == (1, MADE)


@pytest.mark.parametrize("wrong", [None, [], "x", {"xen1": []}])
def test_what_is_no_dictionary_of_hosts_is_refused(wrong):
    with pytest.raises(AnsibleFilterError, match="audit_report: wanted"):
        FilterModule().filters()["audit_report"](wrong, MADE)


# --- its shape, as docs/audit.md tells it

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "audit.md").read_text(encoding="utf-8")


def documented(after):
    """The keys in the first table after these words."""
    rows = PAGE[PAGE.index(after) :].split("|---|---|\n", 1)[1].split("\n\n", 1)[0].splitlines()
    return [row.split("`")[1] for row in rows]


def test_the_page_tells_every_key_and_no_other(report):
    host, guest = report["hosts"][0], report["hosts"][0]["guests"][0]
    assert documented("## The shape of audit.json") == list(report)
    assert documented("Of the `summary`:") == list(report["summary"])
    assert documented("Of a host:") == list(host)
    assert documented("Of a guest:") == list(guest)
    assert documented("## Verdicts") == list(WORDS)


# --- the table

TABLE = """\
host  guests  unreachable  degraded  refused  missing  leftovers  drifted  not described  as described  xen
xen1  11      -            2         1        1        1          3        1              2             4.17.7
xen2  1       1            -         -        -        -          -        -              -             unreachable
xen1: domains that serve nothing: strays-dm (15)
xen1 bare: degraded: the domain of its TPM, bare-vtpm, is gone (needs reboot)
xen1 byhand: drifted: vcpus
... and 7 more"""


def test_the_table(report):
    assert "\n".join(audit_table(report, most=3)) == TABLE


def test_the_table_of_a_fleet_stays_short():
    assert len(audit_table(fleet(1000, 4))) == 1 + 4 + 20 + 1


def test_the_table_wants_a_report():
    with pytest.raises(AnsibleFilterError, match="wanted a report"):
        audit_table({"schema": 2})
