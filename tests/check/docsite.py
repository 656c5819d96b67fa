# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the documentation as a site, .cache/site/html, and holds it to what its readers rely on.

The pages are README.md, CONTRIBUTING.md, SECURITY.md and docs/*.md as they are on a forge; what changes on the way is where
their links lead: to a page of the site, or to the repository for any other file. The reference is made from the plugins'
own documentation by antsibull-docs. docs/README.md, the index, is the first page, and its lists are the site's menu.

Fails where antsibull-docs or Sphinx has a warning, where a link leads nowhere within the site, or where a module, plugin or
role that users can name has no page.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import yaml
from sources import ROOT, sources

SITE = ROOT / ".cache" / "site"
SOURCE, HTML = SITE / "source", SITE / "html"
TOOLS = ROOT / ".cache" / "docs" / "bin"
LINK = re.compile(r"(?<=\]\()([^)\s]+)(?=\))")
LISTED = re.compile(r"^\* .*?\]\(([\w-]+\.md)\)", re.M)
# a drawing in words on the site, where nothing draws it without a script from elsewhere
DRAWN = ("```mermaid\n", "```text\n")
# names of ansible.builtin are looked up as well, and no others may be used
LINT = ("--plugin-docs", "--validate-collection-refs=dependent", "--disallow-unknown-collection-refs", "--check-extra-docs-refs")
# what no user names: actions are their modules' other half
KINDS = {"modules": "module", "filter": "filter", "inventory": "inventory", "callback": "callback", "connection": "connection"}


def run(*command, **more):
    """Run a command from the repository's root, and stop with all that it said where it fails or warns."""
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache" / "collections"), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, cwd=ROOT, env={**environment, **more}, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")


def pages():
    """dict: path in the repository -> path on the site, of every page that is written by hand."""
    written = {"README.md": "about.md", "CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md"}
    here = [name for name in sources() if re.fullmatch(r"docs/[\w-]+\.md", name)]
    return {**written, **{name: name.removeprefix("docs/") for name in here}, "docs/README.md": "index.md"}


def repository():
    """The address of the repository's files: str."""
    return yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))["repository"]


def leads_to(page, target, known):
    """Where a link of `page` (str, in the repository) leads on the site: to a page or picture of it, or out of it."""
    path, anchor = urldefrag(target)
    if not path or urlsplit(target).scheme:
        return target
    name = os.path.relpath((ROOT / page).parent / path, ROOT)
    if name in known:
        return f"{known[name]}#{anchor}" if anchor else known[name]
    if name.endswith((".webp", ".svg")):
        return Path(name).name
    return f"{repository()}/{'tree' if (ROOT / name).is_dir() else 'blob'}/main/{name}"


def menu(index):
    """The lists of the index (str), each as the directives that make Sphinx's menu of it, and the pages beside them."""
    found = []
    for section in re.split(r"^## ", index, flags=re.M)[1:]:
        listed = [name.removesuffix(".md") for name in LISTED.findall(section)]
        found += [(section.splitlines()[0], listed)] if listed else []
    found += [("Reference", ["reference/index"]), ("The collection", ["about", "contributing", "security"])]
    return "\n".join("\n".join(["```{toctree}", ":hidden:", f":caption: {title}", *names, "```"]) for title, names in found)


def lay_out():
    """Write the sources of the site. Returns how many pages were written by hand: int."""
    shutil.rmtree(SITE, ignore_errors=True)
    SOURCE.mkdir(parents=True)
    known = pages()
    for name, here in known.items():
        text = (ROOT / name).read_text(encoding="utf-8").replace(*DRAWN)
        text = LINK.sub(lambda found, name=name: leads_to(name, found[1], known), text)
        (SOURCE / here).write_text(f"{text}\n{menu(text)}" if here == "index.md" else text, encoding="utf-8")
    for picture in (ROOT / "docs").glob("*.*"):
        if picture.suffix in (".webp", ".svg"):
            shutil.copy(picture, SOURCE)
    reference = SOURCE / "reference"
    reference.mkdir()
    run("antsibull-docs", "collection", "--use-current", "--squash-hierarchy", "--fail-on-error",
        "--no-add-antsibull-docs-version", "--dest-dir", str(reference), "stubdom.xen")  # fmt: skip
    return len(known)


class Page(HTMLParser):
    """links: list of str, where a page leads to. loads: list of str, what it needs to be shown. ids: set of str, its anchors."""

    def __init__(self, path):
        super().__init__()
        self.links, self.loads, self.ids = [], [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        about = dict(attrs)
        self.loads += [about[name] for name in ("src", "href") if about.get(name) and tag in ("img", "script", "link")]
        self.links += [about["href"]] if tag == "a" and about.get("href") else []
        self.ids |= {about[name] for name in ("id", "name") if about.get(name)}


def dead_links():
    """What leads nowhere within the site or is loaded from elsewhere, list of str; how many links were followed, int."""
    seen = {path: Page(path) for path in sorted(HTML.rglob("*.html"))}
    dead, count = [], 0
    for path, page in seen.items():
        dead += [f"{path.relative_to(HTML)} loads {link}" for link in page.loads if urlsplit(link).netloc]
        inside = [link for link in (*page.links, *page.loads) if not urlsplit(link).scheme and not urlsplit(link).netloc]
        dead += [f"{path.relative_to(HTML)} leads nowhere: {link}" for link in inside if not there(seen, path, link)]
        count += len(inside)
    return dead, count


def there(seen, path, link):
    """Whether a link of the page `path` leads to a file of the site, and to an anchor that it has. seen: dict, Path -> Page."""
    address, anchor = unquote(urlsplit(link).path), unquote(urlsplit(link).fragment)
    target = (path.parent / address).resolve() if address else path
    return target.exists() and (not anchor or target not in seen or anchor in seen[target].ids)


def without_page():
    """Modules, plugins and roles that have no page in the reference: list of str."""
    wanted = {path.name: "role" for path in (ROOT / "roles").iterdir()}
    named = [(name, "role") for name in wanted]
    named += [(path.stem, kind) for place, kind in KINDS.items() for path in (ROOT / "plugins" / place).glob("*.py")]
    return [f"{kind} {name}" for name, kind in sorted(named) if not (HTML / "reference" / f"{name}_{kind}.html").exists()]


def main():
    """The exit code: 0 when the site is whole."""
    run("antsibull-docs", "lint-collection-docs", *LINT, str(ROOT / ".cache/collections/ansible_collections/stubdom/xen"))
    run(str(ROOT / "requirements" / "venv.sh"), "docs")
    written = lay_out()
    config = str(ROOT / "docs" / "docsite")
    run(str(TOOLS / "sphinx-build"), "-W", "--keep-going", "-q", "-j", "2", "-b", "html", "-c", config, str(SOURCE), str(HTML))
    dead, links = dead_links()
    lost = [*dead, *(f"the reference has no page of {name}" for name in without_page())]
    print(*lost, sep="\n", end="\n" if lost else "")
    print(f"{written} pages and the reference, {links} links within them: {HTML.relative_to(ROOT)}/index.html")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
