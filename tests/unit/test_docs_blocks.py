# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every code block of the pages, and the examples they point to: it works, or the test that says so fails.

sh       every line is parsed by a shell. Targets of make, playbooks, inventories and files that are named exist; a line
         with a program that this test does not know fails. A block of mkdir, ln and export is run.
yaml     is a list of tasks, a playbook, an inventory, a source of the inventory plugin, or a rulebook. The last two have no
         option that is not documented, or that the event source refuses. Tasks and plays go through `ansible-playbook
         --syntax-check`. What a task gives a module goes through that module's own argument specification; the description
         of a guest, in a task or in an inventory's xen_guests, also through the rules of the engine.
text     is the picture that the filter readiness_timeline makes of a result recorded on the embedded host
         (recorded/demo.json, as `make demo` leaves it in .cache/demo), or the table that rollout_table makes of what was
         remembered of a rollout on simulated hosts (recorded/rollout.json), or a part of a failure recorded there
         (recorded/failure.json). What progress.md shows: test_progress.py.
mermaid  is held against the chains by test_docs_tables.py, path by path.
examples are inventories: each guest in them is complete, and passes what a new guest has to pass.
Links from page to page lead to files that exist.

Blocks are run by tests/contract/test_docs.py.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import jinja2.meta
import jinja2.nativetypes
import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from doc_blocks import FENCE, PAGES, ROOT
from doc_blocks import blocks as all_blocks

from ansible_collections.stubdom.xen.plugins.filter.readiness_timeline import readiness_timeline
from ansible_collections.stubdom.xen.plugins.filter.rollout_table import rollout_table
from ansible_collections.stubdom.xen.plugins.inventory import guests as guests_plugin
from ansible_collections.stubdom.xen.plugins.module_utils import rules
from ansible_collections.stubdom.xen.plugins.module_utils.arguments import GUEST, GUESTS, HANDOVER, MIGRATE, POLICY, READY
from ansible_collections.stubdom.xen.plugins.module_utils.spec import from_options

EXAMPLES = sorted((ROOT / "examples").glob("*/group_vars/xen.yml"))
SPECS = {
    "stubdom.xen.guest": {**GUEST, **POLICY},
    "stubdom.xen.guests": GUESTS,
    "stubdom.xen.guest_info": {"names": {"type": "list"}},
    "stubdom.xen.guest_handover": HANDOVER,
    "stubdom.xen.guest_migrate": MIGRATE,
    "stubdom.xen.guest_ready": READY,
    "stubdom.xen.host_info": {},
}
KEYWORDS = {"name", "register", "when", "loop", "loop_control", "check_mode", "vars", "block", "rescue", "always", "changed_when"}
TOLD = {"progress.md", "read-an-error.md"}  # pages whose pictures are tested apart


def blocks(language):
    """The text of every block in this language, as a parameter that is called page:number."""
    return [pytest.param(block.text, id=block.name) for block in all_blocks() if block.language == language]


def test_every_block_has_a_language_that_is_tested():
    assert [block.name for block in all_blocks() if block.language not in ("sh", "yaml", "text", "mermaid")] == []


def test_no_block_hides_in_an_indent():
    """Markdown takes a line that is moved in after an empty one for code as well, and no test would see it."""
    outside = {page.name: FENCE.sub("", page.read_text(encoding="utf-8")) for page in PAGES}
    assert [name for name, text in outside.items() if re.search(r"\n\n {4}\S", text)] == []


# --- sh

TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
# by make lab, make lab-simulated, and the pages
MADE = {".lab/inventory.yml", ".lab/simulated.yml", "hosts.yml", "sealed.yml", "xen.guests.yml", "vars.yml", "inventory.yml"}
MADE |= {"adopt.yml", "first.yml", "rollout.yml"}
HARMLESS = {"mkdir", "ln", "export"}


def exists(word):
    return word in MADE or (ROOT / word).exists()


def judge_make(words):
    return [word for word in words if "=" not in word and word not in TARGETS]


def judge_ansible(words):
    """Inventories (after -i), playbooks by file or by name."""
    named = [word.removeprefix("stubdom.xen.") for word in words if word.startswith("stubdom.xen.")]
    files = [word for word in words if word.endswith(".yml") and "=" not in word]
    files += [after for before, after in zip(words, words[1:]) if before == "-i"]
    return [f for f in files if not exists(f)] + [n for n in named if not exists(f"playbooks/{n}.yml")]


def judge_rulebook(words):
    """Rulebooks by name, after -r; inventories."""
    rulebooks = [after.removeprefix("stubdom.xen.") for before, after in zip(words, words[1:]) if before == "-r"]
    lost = [name for name in rulebooks if not exists(f"extensions/eda/rulebooks/{name}.yml")]
    return lost + judge_ansible([word for word in words if not word.startswith("stubdom.xen.")])


def judge_copy(words):
    """What is taken from the installed collection."""
    inside = [word.partition("/stubdom/xen/")[2] for word in words]
    return [path for path in inside if path and not exists(path)]


def judge_scenario(words):
    """Molecule scenarios, after -s."""
    return [after for before, after in zip(words, words[1:]) if before == "-s" and not exists(f"extensions/molecule/{after}")]


def judge_nothing(_words):
    return []


PROGRAMS = {
    **dict.fromkeys(("ansible-playbook", "ansible", "ansible-inventory"), judge_ansible),
    "make": judge_make, "ansible-rulebook": judge_rulebook, "cp": judge_copy, "sudo": judge_scenario,
    **dict.fromkeys(("pip", "ansible-galaxy", "python3", "."), judge_nothing),
    **dict.fromkeys(HARMLESS, judge_nothing),
}  # fmt: skip


def commands(text):
    return [shlex.split(line, comments=True) for line in text.splitlines() if shlex.split(line, comments=True)]


@pytest.mark.parametrize("text", blocks("sh"))
def test_shell(text):
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    for program, *words in commands(text):
        assert program in PROGRAMS, f"teach this test what may be wrong with {program}"
        assert PROGRAMS[program](words) == [], f"{program} {' '.join(words)}: not in the repository"


@pytest.mark.parametrize("text", [p for p in blocks("sh") if {words[0] for words in commands(p.values[0])} <= HARMLESS])
def test_harmless_shell_is_run(text, tmp_path):
    subprocess.run(["bash", "-eu"], input=text, text=True, check=True, cwd=tmp_path)
    (link,) = (path for path in tmp_path.rglob("*") if path.is_symlink())
    assert (link.resolve(), link.parts[-3:]) == (tmp_path, ("ansible_collections", "stubdom", "xen"))


# --- yaml


def flat(tasks):
    """The tasks with those in blocks taken out of them."""
    for task in tasks:
        inner = [*task.get("block", []), *task.get("rescue", []), *task.get("always", [])]
        yield from flat(inner) if inner else [task]


def tasks_of(block):
    """The tasks of a block, those of plays included."""
    tasks = block if isinstance(block, list) else []
    return list(flat([inner for task in tasks for inner in (task.get("tasks", []) if "hosts" in task else [task])]))


def guests_of(tree):
    """Every item of a xen_guests, however deep in an inventory."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from value if key == "xen_guests" else guests_of(value)


def templated(value, variables):
    """The value with what only needs these variables put in; any other template stays as it is."""
    if isinstance(value, dict):
        return {key: templated(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [templated(item, variables) for item in value]
    if not isinstance(value, str) or "{{" not in value:
        return value
    environment = jinja2.nativetypes.NativeEnvironment()
    known = jinja2.meta.find_undeclared_variables(environment.parse(value)) <= set(variables)
    return environment.from_string(value).render(variables) if known else value


def described(options, module="stubdom.xen.guest"):
    """The guest that the options describe, after all that can be judged of it without a host."""
    lists = {key: [] for key, value in (options or {}).items() if key == "guests" and isinstance(value, str)}  # a template's
    judged = ArgumentSpecValidator(SPECS[module]).validate({**(options or {}), **lists})
    assert judged.error_messages == []
    if module != "stubdom.xen.guest":
        return None
    guest = from_options(judged.validated_parameters)
    if "{{" not in str(guest.name):
        rules.check(guest)
    return guest


@pytest.mark.parametrize("text", blocks("yaml"))
def test_what_modules_are_given(text):
    block = yaml.safe_load(text)
    if is_inventory_source(block):
        assert set(block) <= INVENTORY_OPTIONS
        return
    if "xen_event_hosts" in block or is_rulebook(block):
        assert event_sources(block)
        return
    given = [(module, task[module]) for task in tasks_of(block) for module in set(task) - KEYWORDS if module in SPECS]
    given += [("stubdom.xen.guest", guest) for guest in guests_of(block)]
    for module, options in given:
        described(options, module)
    assert given or any("roles" in play for play in block), "a block that shows nothing of this collection"


def documented(text):
    """The options in the DOCUMENTATION of a plugin, and in those of Ansible's fragments that it names."""
    told = yaml.safe_load(text)
    fragments = [doc_fragment(name) for name in told.get("extends_documentation_fragment", [])]
    return {*told["options"], *(option for fragment in fragments for option in fragment["options"])}


def doc_fragment(name):
    return yaml.safe_load(importlib.import_module(f"ansible.plugins.doc_fragments.{name}").ModuleDocFragment.DOCUMENTATION)


INVENTORY_OPTIONS = documented(guests_plugin.DOCUMENTATION)
EVENT_SOURCE = runpy.run_path(str(ROOT / "extensions/eda/plugins/event_source/xenstore.py"))


def is_inventory_source(block):
    return isinstance(block, dict) and block.get("plugin") == "stubdom.xen.guests"


def is_rulebook(block):
    return isinstance(block, list) and "sources" in block[0]


def event_sources(block):
    """What an event source of a rulebook is given, or of the variables of one, after the source has judged it."""
    if isinstance(block, dict):
        return EVENT_SOURCE["checked"]({"hosts": block["xen_event_hosts"]})
    return [EVENT_SOURCE["checked"](source["stubdom.xen.xenstore"]) for rules in block for source in rules["sources"]]


def test_the_example_in_the_event_source_itself():
    assert event_sources(yaml.safe_load(EVENT_SOURCE["EXAMPLES"]))


def test_the_examples_in_the_inventory_plugin_itself():
    for block in yaml.safe_load_all(guests_plugin.EXAMPLES):
        assert is_inventory_source(block) and set(block) <= INVENTORY_OPTIONS


def test_syntax(tmp_path):
    """All tasks of all pages at once, each block a play."""
    plays = []
    for text in (p.values[0] for p in blocks("yaml")):
        block = yaml.safe_load(text)
        if isinstance(block, list) and not is_rulebook(block):
            plays += block if "hosts" in block[0] else [{"hosts": "all", "gather_facts": False, "tasks": block}]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(plays, sort_keys=False), encoding="utf-8")
    check_syntax(tmp_path / "play.yml")


def check_syntax(playbook):
    program = Path(sys.executable).parent / "ansible-playbook"
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache" / "collections"), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        [program, "--syntax-check", "-i", "localhost,", playbook], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parts[-3])
def test_examples(path):
    variables = yaml.safe_load(path.read_text(encoding="utf-8"))
    guests = [described(options) for options in templated(variables["xen_guests"], variables)]
    assert len({guest.name for guest in guests}) == len(guests) > 0
    for guest in guests:
        rules.check_new(guest)


def test_the_demo_is_one_guest_of_each_way_to_have_a_device_model():
    variables = yaml.safe_load((ROOT / "examples/demo/group_vars/xen.yml").read_text(encoding="utf-8"))
    assert [(g["type"], g.get("stubdom", {}).get("type")) for g in variables["xen_guests"]] == [
        ("hvm", "linux"), ("hvm", None), ("pvh", None),
    ]  # fmt: skip


# --- text


RECORDED = json.loads((ROOT / "tests/unit/recorded/demo.json").read_text(encoding="utf-8"))
ROLLOUT = json.loads((ROOT / "tests/unit/recorded/rollout.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("text", [p for p in blocks("text") if str(p.id).partition(":")[0] not in TOLD])
def test_pictures(text):
    if text.startswith("wave "):
        assert text.splitlines() == rollout_table(ROLLOUT)
        return
    pictures = {result["guest"]["spec"]["name"]: "\n".join(readiness_timeline(result)) for result in RECORDED}
    names = re.findall(r"^(\S+) \(", text, re.M)
    assert names and text.strip() == "\n\n".join(pictures[name] for name in names)


FAILURE = json.loads((ROOT / "tests/unit/recorded/failure.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("text", [p for p in blocks("text") if str(p.id).startswith("read-an-error.md")])
def test_the_failure_that_is_read(text):
    """Each part of it is what was recorded, of the result or of its evidence."""
    shown = yaml.safe_load(text)
    assert shown == {key: FAILURE.get(key, FAILURE["evidence"].get(key)) for key in shown}


# --- links


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    lost = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert lost == []


def test_pages_that_the_code_names_are_there():
    named = {
        name
        for path in [*(ROOT / "plugins").rglob("*.py"), *(ROOT / "playbooks").glob("*.yml"), *(ROOT / "roles").rglob("README.md")]
        for name in re.findall(r"docs/[\w-]+\.md", path.read_text(encoding="utf-8"))
    }
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
