# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of docs/ against the tables of the code: what a page says of fields, errors, chains and states is so."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from ansible_collections.stubdom.xen.plugins.module_utils import admission, chains, live, plan, readiness, state
from ansible_collections.stubdom.xen.plugins.module_utils.arguments import GUEST, POLICY
from ansible_collections.stubdom.xen.plugins.module_utils.errors import CODES
from ansible_collections.stubdom.xen.plugins.module_utils.fields import FIELDS, MODELLED
from ansible_collections.stubdom.xen.plugins.module_utils.steps import STEPS

ROOT = Path(__file__).resolve().parents[2]
matrix = SimpleNamespace(**runpy.run_path(str(ROOT / "tests" / "check" / "matrix.py")))

# The keys of fields that have no key of their own, or none in xl.cfg at all.
WRITTEN_AS = {"stubdom.type": "device_model_stubdomain_override"}
NOT_IN_THE_FILE = {"autostart": "a link in `/etc/xen/auto`", "extra_config": "any other key"}


def page(name):
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def tables(text):
    """Every table of a page as a list of rows, each a list of cells; the line under the head is left out."""
    found, rows = [], []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
        elif rows:
            found.append([rows[0], *rows[2:]])
            rows = []
    return found


def fields_table():
    """docs/fields.md's table as it has to be."""
    rows = [["option", "key of xl.cfg", "a change on a running guest takes", "since Xen"]]
    for field in FIELDS:
        key = field.key or WRITTEN_AS[field.option]
        rows.append([f"`{field.option}`", f"`{key}`", field.needs, dotted(field.since)])
    return rows


def test_what_a_guest_takes_as_it_runs():
    """The table names each row of live.py, with its step, what that disrupts, and the command."""
    found = tables(page("fields.md"))[1][1:]
    rows = {name: (row.step, STEPS[row.step].disrupts) for name, row in live.ROWS.items()}
    rows.update(dict.fromkeys(live.LISTS, ("attach`, `detach", STEPS["attach"].disrupts)))
    told = {row[0].strip("`"): (row[1].strip("`"), row[2]) for row in found if ":" not in row[0]}
    assert told == rows
    assert [(row[0], row[1]) for row in found if ":" in row[0]] == [("`disks`: the medium", "`insert`")]


def test_fields():
    found = tables(page("fields.md"))[0]
    wanted = fields_table()
    assert found == wanted, "docs/fields.md has to say:\n" + "\n".join(f"| {' | '.join(row)} |" for row in wanted)


def test_every_option_of_a_guest_is_on_the_page():
    told = {field.option.split(".")[0] for field in FIELDS} | set(NOT_IN_THE_FILE)
    assert told == set(GUEST)
    for option, how in NOT_IN_THE_FILE.items():
        assert f"`{option}`" in page("fields.md") and how in page("fields.md")
    assert {field.key or WRITTEN_AS[field.option] for field in FIELDS} == MODELLED


def test_errors():
    (found,) = tables(page("errors.md"))
    told = {row[0].strip("`"): row[1] for row in found[1:]}
    assert told == CODES, "docs/errors.md: the first two columns are CODES of errors.py"
    assert all(len(row) == 3 and row[2] for row in found), "and each has something to do"


def dotted(version):
    return ".".join(map(str, version))


def test_support_matrix():
    old, first = dotted(admission.LAST_TRADITIONAL), dotted(admission.FIRST_LINUX)
    assert [row[1:] for row in tables(page("support-matrix.md"))[0][1:]] == [
        [first, ""], ["4.2", old], ["4.2", old], [dotted(admission.FIRST_PHY_CDROM), ""],
    ]  # fmt: skip


WHO = {
    "none": "pv or pvh without QEMU",
    "qemu": "hvm with QEMU in dom0; pv or pvh whose disk or other device QEMU serves",
    "restricted": "hvm with `device_model.restrict`",
    "qemu-tpm": "hvm with a vTPM of `kind: emulator`",
    "restricted-tpm": "the same with `device_model.restrict`",
    "linux": "hvm with a Linux stubdomain",
    "minios": "hvm with a MiniOS stubdomain",
    "vtpm-domain": "a domain that holds a TPM, when it runs",
    "vtpm-stubdom": "a vTPM of `kind: stubdom`",
    "vtpm": "each vTPM",
    "vtpm-manager": "each vTPM domain with a manager",
    "xen_9pfs": "a 9p file system of xen-9pfsd",
    "qdisk": "a disk that QEMU serves in a driver domain",
    "other": "any other device of a driver domain",
}
NAMES = {"guest": "G", "stubdom": "S", "backend": "B", "back": "/local/domain/B/backend/KIND/G/DEVID", "name": "NAME"}


def when(row):
    """The Xens on which a row counts."""
    first, last = (dotted(row.first) if row.first > chains.OLDEST else "", dotted(row.last) if row.last < (999,) else "")
    return f"{first} to {last}" if first and last else (f"from {first}" if first else (f"up to {last}" if last else "all"))


def chain_rows(table):
    """docs/readiness.md's table as it has to be, of CHAINS or of DEVICES."""
    for kind, rows in table.items():
        if not rows:
            yield [WHO[kind], "all", "none", "", "", "", ""]
        for row in rows:
            want = " or ".join(f"`{value}`" for value in row.want) or "any"
            limit = f"{row.limit} s" if row.limit else "no"
            yield [WHO[kind], when(row), row.name, row.who, f"`{row.path.format(**NAMES)}`", want, limit]


@pytest.mark.parametrize(("number", "table"), [(0, chains.CHAINS), (1, chains.DEVICES)])
def test_chains(number, table):
    found, wanted = tables(page("readiness.md"))[number][1:], list(chain_rows(table))
    assert found == wanted, "docs/readiness.md has to say:\n" + "\n".join(f"| {' | '.join(row)} |" for row in wanted)


def test_every_path_on_the_readiness_page_is_one_that_the_engine_reads():
    read = {row[4].strip("`") for table in (chains.CHAINS, chains.DEVICES) for row in chain_rows(table)}
    read |= {readiness.failure_node("S"), "/local/domain/S/target", "/local/domain/G/image/device-model-domid"}
    told = re.sub(r"^```text\n.*?^```$", "", page("readiness.md"), flags=re.M | re.S)
    paths = set(re.findall(r"/local/domain/[SGB0]/[a-zA-Z0-9/-]+", told))
    assert paths <= read | {readiness.DOM0_MODELS}
    assert {path for path in read if path.startswith("/local")} <= paths


def test_the_picture_of_a_chain():
    """docs/chain.svg: a guest with a Linux stubdomain and a TPM's domain."""
    texts = re.findall(r'<text class="(text|path)"[^>]*>([^<]+)</text>', page("chain.svg"))
    told = [(name, path) for (one, name), (other, path) in zip(texts, texts[1:]) if (one, other) == ("text", "path")]
    parts = ({"linux": chains.CHAINS["linux"]}, {"vtpm-stubdom": chains.DEVICES["vtpm-stubdom"]})
    rows = [row for part in parts for row in chain_rows(part)]
    assert sorted(told) == sorted((row[2], row[4].strip("`")) for row in rows)
    assert f"report {('six', 'seven', 'eight')[len(rows) - 6]} links" in page("concepts.md")


def test_what_happens_to_a_chain_has_the_codes_of_the_engine():
    assert [row[1].strip("`") for row in tables(page("readiness.md"))[2][1:]] == [*readiness.HINTS]


def words(rows):
    """The word in each row's first cell, and those marked as the default."""
    found = [re.match(r"`(\w+)`", row[0]).group(1) for row in rows]
    return found, [word for word, row in zip(found, rows) if "(default)" in row[0]]


@pytest.mark.parametrize(("number", "option"), [(0, "state"), (2, "disruption")])
def test_choices(number, option):
    found, default = words(tables(page("guests.md"))[number][1:])
    assert sorted(found) == sorted(POLICY[option]["choices"])
    assert default == [POLICY[option]["default"]]


def test_the_words_for_what_is_found():
    rows = tables(page("guests.md"))[1][1:]
    assert {word: row[1] for word, row in zip(words(rows)[0], rows)} == state.WORDS


def test_what_a_task_does_about_what_is_found():
    for word, _means, told in ([cell.strip("`") for cell in row] for row in tables(page("guests.md"))[1][1:]):
        done = plan.POWER["running"].get(word, ())
        assert ("clears" in told, "shuts it down" in told) == ("clear" in done, "shutdown" in done), word
        assert bool(re.search("starts|makes", told)) == ("create" in done), word
        assert ("unpauses" in told) == ("unpause" in done and "create" not in done), word
        assert (told.startswith("leaves"), told.startswith("is refused")) == (word == "running", word == "opaque")


# --- what `make matrix` writes

RESULTS = {
    "bookworm": {
        "date": "2026-01-02",
        "versions": {"xen": "4.17.5", "qemu": "7.2.22", "kernel": "6.1.0", "python": "3.11.2"},
        "tests": {"test_life: test_life[pv]": "passed", "test_life: test_life[hvm]": "passed"},
    },
    "trixie": {
        "date": "2026-01-03",
        "versions": {"xen": "4.20.0", "qemu": "10.0.2", "kernel": "6.12.0", "python": "3.13.5"},
        "tests": {"test_life: test_life[pv]": "FAILED: assert 1 == 2"},
    },
}


def test_a_matrix_has_a_column_for_each_host_and_a_row_for_each_test():
    assert matrix.table(RESULTS) == [
        "| what | Xen 4.17.5, Debian 12 | Xen 4.20.0, Debian 13 |",
        "| --- | --- | --- |",
        "| qemu | 7.2.22 | 10.0.2 |",
        "| kernel | 6.1.0 | 6.12.0 |",
        "| python | 3.11.2 | 3.13.5 |",
        "| tested on | 2026-01-02 | 2026-01-03 |",
        "| `test_life: test_life[hvm]` | passed | not run |",
        "| `test_life: test_life[pv]` | passed | **failed** |",
    ]


@pytest.mark.parametrize(
    ("changed", "kept"),
    [({}, True), ({"date": "2026-01-03"}, False), ({"versions": {"xen": "4.17.6"}}, False)],
    ids=["a second run of the day", "another day", "another Xen"],
)
def test_a_column_has_what_several_runs_of_one_day_saw_of_one_host(changed, kept):
    before = RESULTS["bookworm"]
    again = {**before, **changed, "tests": {"test_life: test_life[pv]": "FAILED: assert 1 == 2"}}
    seen = matrix.joined(before, again)["tests"]
    assert seen["test_life: test_life[pv]"] == "FAILED: assert 1 == 2"
    assert ("test_life: test_life[hvm]" in seen) == kept
    assert matrix.joined(None, again) == again


def test_the_page_shows_the_matrix_that_was_measured():
    kept = json.loads(matrix.KEPT.read_text(encoding="utf-8"))
    block = page("support-matrix.md").partition(matrix.BEGIN)[2].partition(matrix.END)[0]
    assert block.strip().splitlines() == matrix.table(kept)
    assert matrix.table({}) == []
    assert all(kept[suite]["tests"] for suite in kept), "a column without a test says nothing"
