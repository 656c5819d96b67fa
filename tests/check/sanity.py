# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs `ansible-test sanity`, without exceptions, on a machine that reaches nothing but PyPI.

ansible-test has wishes of its own, each met here:
* a real directory .../ansible_collections/stubdom/xen (it refuses a symlink): a copy of the repository's files;
* get-pip.py from a server of its own: a stand-in that runs the same pip, taken from PyPI;
* Python interpreters on PATH, not the wrappers that version managers put there: their own directories;
* ~/.ansible for caches: a home directory under .cache, so that nothing else on this machine meets the stand-in.

What runs on a Xen host is checked on the controller's Python and on the oldest supported one, if this machine has it;
with --every-python on all that are found. What was not checked is said in the last line.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

from ansible.release import __version__ as ansible_core
from ansible_test._internal.python_requirements import get_venv_packages
from sources import ROOT, sources

CACHE = ROOT / ".cache" / "sanity"
COPY = CACHE / "ansible_collections" / "stubdom" / "xen"
HOME = CACHE / "home"
CONTROLLER = f"{sys.version_info.major}.{sys.version_info.minor}"
OLDEST = "3.9"
# all that ansible-core 2.19 and this collection both support
PYTHONS = (OLDEST, "3.10", "3.11", "3.12", "3.13")

# test -> (program it needs, suffix of the files it looks at)
PROGRAMS = {"shellcheck": ("shellcheck", ".sh"), "pslint": ("pwsh", ".ps1")}

STAND_IN = """\
import runpy, sys
sys.path.insert(0, {directory!r})
options = [option for option in sys.argv[1:] if option not in ("--no-setuptools", "--no-wheel")]
# pip is found in its own directory above, and would call itself installed already
sys.argv[1:] = ["install", "--ignore-installed", *options]
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""


def refuse_exceptions(names):
    """SystemExit if one of the repository's files (names: list of str) has ansible-test ignore failures."""
    found = [name for name in names if re.fullmatch(r"tests/sanity/ignore.*\.txt", name)]
    if found:
        sys.exit(f"{', '.join(found)}: this collection has no exceptions from ansible-test sanity: mend what it reports")


def copy_sources(names):
    """Make COPY hold these files of the repository (list of str), and no others."""
    shutil.rmtree(COPY, ignore_errors=True)
    for name in names:
        (COPY / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, COPY / name)


def prepare_home():
    """Fill HOME: the stand-in for get-pip.py, and the user's own settings of pip, which say where PyPI is."""
    version = get_venv_packages(SimpleNamespace(version=CONTROLLER))["pip"]
    pip = CACHE / f"pip-{version}"
    if not pip.is_dir():
        partial = CACHE / "pip.partial"
        shutil.rmtree(partial, ignore_errors=True)
        fetch = ("uv", "pip", "install", "--quiet", "--target", partial, f"pip=={version}")
        if subprocess.run(fetch, check=False).returncode:
            sys.exit(f"ansible-test wants pip {version}, and uv could not get it from PyPI: see above")
        partial.rename(pip)
    cached = HOME / ".ansible" / "test" / "cache" / f"get_pip_{version.replace('.', '_')}.py"
    cached.parent.mkdir(parents=True, exist_ok=True)
    cached.write_text(STAND_IN.format(directory=str(pip)))
    for name in (".config", ".pip"):
        (HOME / name).unlink(missing_ok=True)
        (HOME / name).symlink_to(Path.home() / name)


def candidates(version):
    """Paths where a Python of this version ("3.9") may be: PATH, then where uv and pyenv keep theirs."""
    yield from (Path(directory) / f"python{version}" for directory in os.environ["PATH"].split(os.pathsep))
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    data = Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local" / "share"))
    for kept in (pyenv / "versions", data / "uv" / "python"):
        yield from sorted(kept.glob(f"*/bin/python{version}"))


def directory_of(version):
    """Directory (Path) of a real interpreter of this version that can make virtual environments, or None.

    It is asked, not believed: a wrapper starts but lives elsewhere, or does not start.
    """
    question = "import sys, venv; print(sys.base_prefix)"
    for python in candidates(version):
        if not os.access(python, os.X_OK):
            continue
        answer = subprocess.run((python, "-c", question), capture_output=True, text=True, check=False)
        real = Path(answer.stdout.strip()) / "bin"
        if answer.returncode == 0 and (real / f"python{version}").exists():
            return real
    return None


def ansible_test(found, options, **how):
    """Run `ansible-test sanity` with these options (tuple of str) on the Pythons found (dict of version to directory).

    `how` goes to subprocess.run, whose CompletedProcess is returned.
    """
    path = [Path(sys.executable).parent, *found.values(), "/usr/local/bin", "/usr/bin", "/bin"]
    targets = [option for version in found for option in ("--target-python", version)]
    return subprocess.run(
        ("ansible-test", "sanity", "--controller", f"origin:python={CONTROLLER}", *targets, *options),
        cwd=COPY,
        # the content root is told: looked for, it would be the git checkout around the copy, which ignores all of it
        env={**os.environ, "HOME": str(HOME), "PATH": os.pathsep.join(map(str, path)), "ANSIBLE_TEST_CONTENT_ROOT": str(COPY)},
        check=False,
        **how,
    )


def prepare_tools(found):
    """Have ansible-test install what its tests need for these Pythons, once; pip is heard only if that fails."""
    done = HOME / f"ready-{ansible_core}-{'-'.join(found)}"
    if done.exists():
        return
    print(f"installing the tools of ansible-test {ansible_core} for Python {', '.join(found)}", flush=True)
    primed = ansible_test(found, ("--prime-venvs",), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if primed.returncode:
        sys.exit(primed.stdout)
    done.touch()


def results():
    """(how many tests ran, sorted names of those that had nothing to run on), from ansible-test's own records."""
    ran, idle = 0, set()
    for record in (COPY / "tests" / "output" / "junit").glob("*.xml"):
        for case in ElementTree.parse(record).iter("testcase"):
            if case.find("skipped") is None:
                ran += 1
            else:
                idle.add(re.sub(r"-python-.*", "", case.get("name")))
    return ran, sorted(idle)


def unseen(names):
    """Tests that skip in silence for want of a program, though there are files for them: dict of test to program."""
    suffixes = {Path(name).suffix for name in names}
    return {test: program for test, (program, suffix) in PROGRAMS.items() if suffix in suffixes and not shutil.which(program)}


@contextmanager
def alone():
    """Hold CACHE for this process: a second run would pull the copy from under the first."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main(arguments):
    """The exit code: ansible-test's own, or 1 when it left no records."""
    with alone():
        return check(PYTHONS if "--every-python" in arguments else (OLDEST, CONTROLLER))


def check(wanted):
    """Run it all on the wanted Pythons (sequence of str, "3.9") that this machine has, and return the exit code."""
    names = sources()
    refuse_exceptions(names)
    copy_sources(names)
    prepare_home()
    located = {version: directory_of(version) for version in wanted}
    found = {version: directory for version, directory in located.items() if directory}
    prepare_tools(found)
    code = ansible_test(found, ("--junit",)).returncode
    ran, idle = results()
    without = unseen(names)
    nothing = [test for test in idle if test not in without]
    lacking = [f"{test} (no {program})" for test, program in without.items()]
    lacking += [f"Python {version} (not on this machine)" for version in wanted if version not in found]
    print(
        f"{ran} tests ran, Python {', '.join(found)}; nothing to look at for {', '.join(nothing) or 'none'};"
        f" NOT CHECKED: {', '.join(lacking) or 'nothing'}"
    )
    return code or (0 if ran else 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
