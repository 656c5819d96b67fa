# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fuzzers of tests/fuzz find what is wrong, tell how to see it again, and find nothing in what there is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).resolve().parents[1] / "fuzz"

# A mistake put into the reader or the client -> what is then said. Each is one that somebody could make.
MISTAKES = {
    "a character that is lost": ("xlcfg", "cfgtext.ESCAPES['\\t'] = 't'", "AssertionError"),
    "no limit of depth": ("xlcfg", "cfgtext.DEEPEST = 1 << 20", "RecursionError"),
    "any permissions": ("xenstore", "xenstore.PERMISSION = re.compile('.*', re.S)", "ValueError|AssertionError"),
    "any answer": (
        "xenstore", "xsline.Line._accept = lambda self, p: self._replies.update({self._pending.popitem()[0]: p})", "Error",
    ),
    "an error that is none": ("xenstore", "xenstore.error_name = lambda reply: None", "AssertionError"),
}  # fmt: skip
PLANTED = f"""
import re, runpy, sys
sys.path.insert(0, {str(FUZZ.parents[1] / ".cache/collections")!r})
from ansible_collections.stubdom.xen.plugins.module_utils import cfgtext, xenstore, xlcfg, xsline
{{mistake}}
sys.argv[1:] = {{arguments!r}}
sys.path.insert(0, {str(FUZZ)!r})
runpy.run_path({str(FUZZ / "__main__.py")!r}, run_name="__main__")
"""


def run(*arguments, mistake=""):
    program = PLANTED.format(mistake=mistake, arguments=list(arguments))
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, errors="replace")


def test_a_few_inputs_of_a_seed_find_nothing():
    done = run("--inputs", "400", "--seed", "a")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "nothing found in xlcfg 400, xenstore 400 inputs, seed a" in done.stdout


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_found_and_can_be_seen_again(case):
    target, mistake, said = MISTAKES[case]
    found = run(target, "--inputs", "20000", "--seed", "b", mistake=mistake)
    assert found.returncode == 1 and re.search(said, found.stderr), found.stdout + found.stderr[-3000:]
    again = re.search(rf"python tests/fuzz {target} --seed b --only (\d+)$", found.stderr.strip())
    assert again, found.stderr[-500:]
    once_more = run(target, "--seed", "b", "--only", again[1], mistake=mistake)
    assert once_more.returncode == 1 and once_more.stderr.splitlines()[-1] == found.stderr.splitlines()[-1]
    assert run(target, "--seed", "b", "--only", again[1]).returncode == 0


def test_more_than_a_packet_of_the_kernel_holds_is_an_input_as_well():
    done = run("xenstore", "--seed", "7e64006d", "--only", "401031")
    assert done.returncode == 0, done.stderr[-500:]


def test_inputs_that_have_become_useless_are_told():
    done = run("xlcfg", "--inputs", "50", "--seed", "a", mistake="cfgtext.TOKEN = re.compile('(?!)')")
    assert done.returncode == 1 and "hardly ever read" in done.stderr
