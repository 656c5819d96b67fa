// SPDX-FileCopyrightText: The stubdom.xen contributors
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The page as a whole: what is searched, what is shown, and the keys.

const report = JSON.parse(document.getElementById("report").textContent);
const [hostsPlace, rolloutPlace, search, found] = ["hosts", "rollout", "search", "found"].map((id) =>
  document.getElementById(id),
);
const asked = new URLSearchParams(location.hash.slice(1));
const shown = {
  text: asked.get("q") || "",
  only: new Set((asked.get("only") || "").split(",").filter((word) => word in VERDICTS)),
  view: asked.get("view") === "rollout" && report.summary.rollout ? "rollout" : "guests",
};
const opened = new Set();

/** Guests that somebody should look at come first; among equals, names. */
const entries = report.hosts.map((host, place) => {
  const items = host.guests.map((guest) => ({ guest, host, key: `${host.name}/${guest.name}`, text: textOf(guest, host) }));
  items.sort(
    (a, b) =>
      ORDER.indexOf(a.guest.verdict) - ORDER.indexOf(b.guest.verdict) ||
      a.guest.name.localeCompare(b.guest.name, "en", { numeric: true }),
  );
  return {
    host,
    items,
    id: `host-${place}`,
    text: `${host.name} ${host.state} ${host.error ? host.error.msg : ""}`.toLowerCase(),
  };
});

function textOf(guest, host) {
  const domains = guest.domains.map((domain) => `${domain.name} domid ${domain.domid}`);
  const fields = [
    ...guest.differs.map((row) => row.field),
    ...guest.plan.map((step) => step.step),
    ...guest.pending.map((waits) => waits.field),
  ];
  return [
    host.name,
    guest.name,
    guest.verdict,
    VERDICTS[guest.verdict][1],
    guest.type,
    guest.state,
    guest.uuid,
    guest.needs,
    ...domains,
    ...fields,
  ]
    .join(" ")
    .toLowerCase();
}

function fits(item, words) {
  return (shown.only.size === 0 || shown.only.has(item.guest.verdict)) && words.every((word) => item.text.includes(word));
}

function render() {
  const words = shown.text.toLowerCase().split(/\s+/).filter(Boolean),
    filtered = words.length > 0 || shown.only.size > 0;
  hostsPlace.hidden = shown.view !== "guests";
  rolloutPlace.hidden = shown.view !== "rollout";
  const count = shown.view === "guests" ? renderHosts(words, filtered) : renderRollout(words);
  found.textContent = filtered ? `${plural(count, "guest")} of ${report.summary.guests}` : plural(count, "guest");
  for (const chip of document.querySelectorAll("#verdicts button"))
    chip.setAttribute("aria-pressed", shown.only.has(chip.dataset.is));
  for (const button of document.querySelectorAll("#views button"))
    button.setAttribute("aria-pressed", button.dataset.view === shown.view);
  remember();
}

function renderHosts(words, filtered) {
  let count = 0;
  for (const entry of entries) {
    const items = filtered ? entry.items.filter((item) => fits(item, words)) : entry.items;
    const named = shown.only.size === 0 && words.every((word) => entry.text.includes(word));
    entry.section.hidden = items.length === 0 && filtered && !named;
    const row = (item) => rowOf(item, opened),
      folded = filtered ? [] : foldable(entry);
    const rows = chunked(folded.length && !entry.whole ? items.slice(0, items.length - folded.length) : items, row);
    entry.body.replaceChildren(...rows, ...(folded.length ? [foldOf(entry, folded)] : []));
    count += items.length;
  }
  return count;
}

const FEW = 5;

/** The guests of a host that nobody has to look at one by one. They stand last: a host has one sort of them. */
function foldable(entry) {
  const quiet = entry.items.filter((item) => QUIET.includes(item.guest.verdict));
  return quiet.length > FEW ? quiet : [];
}

function foldOf(entry, folded) {
  const fold = el(
    "button",
    { type: "button", class: "fold", "aria-expanded": String(Boolean(entry.whole)) },
    glyph(folded[0].guest.verdict),
    ` ${folded.length} ${VERDICTS[folded[0].guest.verdict][1]}`,
    el("span", { class: "soft" }, entry.whole ? " hide" : " show"),
  );
  fold.addEventListener("click", () => {
    entry.whole = !entry.whole;
    render();
    entry.body.lastChild.focus({ preventScroll: true });
  });
  return fold;
}

function renderRollout(words) {
  const longest = report.summary.rollout.longest_s || 1;
  const items = entries.flatMap((entry) => entry.items).filter((item) => item.guest.rollout && fits(item, words));
  items.sort((a, b) => b.guest.rollout.failed - a.guest.rollout.failed || b.guest.rollout.took_s - a.guest.rollout.took_s);
  rolloutPlace.replaceChildren(legend(longest), ...chunked(items, (item) => laneOf(item, longest, openItem)));
  return items.length;
}

/** What is shown is in the address, so that it can be sent to somebody. */
function remember() {
  const told = new URLSearchParams();
  if (shown.text) told.set("q", shown.text);
  if (shown.only.size) told.set("only", [...shown.only].join(","));
  if (shown.view !== "guests") told.set("view", shown.view);
  try {
    history.replaceState(null, "", `#${told}`);
  } catch {
    /* a page in a frame may not */
  }
}

function show(change) {
  Object.assign(shown, change);
  search.value = shown.text;
  render();
}

function press(word) {
  if (!shown.only.delete(word)) shown.only.add(word);
  render();
}

function openItem(item) {
  show({ text: "", only: new Set(), view: "guests" });
  openEntry(
    entries.find((entry) => entry.host === item.host),
    item,
  );
}

function openEntry(entry, item) {
  if (shown.view !== "guests" || entry.section.hidden || (item && !fits(item, [])))
    show({ text: "", only: new Set(), view: "guests" });
  if (!item) return entry.section.scrollIntoView();
  opened.add(item.key);
  if (foldable(entry).includes(item) && !entry.whole) {
    entry.whole = true;
    render();
  }
  for (const place of entry.body.children) fill(place);
  const row = [...entry.body.querySelectorAll("details.guest")].find((other) => other.dataset.key === item.key);
  if (!row) return undefined;
  row.open = true;
  row.scrollIntoView({ block: "center" });
  return row.firstChild.focus({ preventScroll: true });
}

// --- keys

document.addEventListener("keydown", (event) => {
  const typing = event.target === search,
    row = event.target.closest?.("summary, .lane, .fold");
  if (event.key === "/" && !typing) {
    event.preventDefault();
    search.focus();
    search.select();
  } else if (event.key === "Escape") show({ text: "", only: new Set() });
  else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && (row || typing)) {
    event.preventDefault();
    step(row, event.key === "ArrowDown" ? 1 : -1);
  }
});

/** To the next row, in this direction; one that is not made yet is made. */
function step(from, way) {
  const place = shown.view === "guests" ? hostsPlace : rolloutPlace,
    ahead = way > 0 ? Node.DOCUMENT_POSITION_FOLLOWING : Node.DOCUMENT_POSITION_PRECEDING;
  const empty = [...place.querySelectorAll(".chunk:empty")].filter(
    (chunk) => !from || from.compareDocumentPosition(chunk) & ahead,
  );
  if (empty.length) fill(way > 0 ? empty[0] : empty[empty.length - 1]);
  const rows = [
    ...document.querySelectorAll(shown.view === "guests" ? ".host:not([hidden]) :is(.guest > summary, .fold)" : ".lane"),
  ];
  const next = from ? rows[rows.indexOf(from) + way] : rows[way > 0 ? 0 : -1];
  (next || search).focus();
}

// --- light and dark

const THEMES = ["light dark", "light", "dark"],
  NAMES = { "light dark": "Auto", light: "Light", dark: "Dark" };
const theme = document.getElementById("theme");

function dress(scheme) {
  document.documentElement.style.colorScheme = scheme;
  theme.textContent = NAMES[scheme];
  theme.setAttribute("aria-label", `Colours: ${NAMES[scheme]}`);
}

function kept(scheme) {
  try {
    if (scheme) localStorage.setItem("stubdom.xen.audit", scheme);
    return localStorage.getItem("stubdom.xen.audit");
  } catch {
    // where a page may keep nothing
    return null;
  }
}

theme.addEventListener("click", () => {
  const next = THEMES[(THEMES.indexOf(document.documentElement.style.colorScheme) + 1) % THEMES.length];
  kept(next);
  dress(next);
});

// --- on paper everything is there, and what somebody should look at is open

window.addEventListener("beforeprint", () => {
  for (const entry of entries) entry.whole = true;
  render();
  for (const place of document.querySelectorAll(".chunk:empty")) fill(place);
  for (const row of document.querySelectorAll("details.guest:not([data-is=as_described])")) row.open = true;
});

dress(THEMES.find((scheme) => scheme === kept()) || THEMES[0]);
overview(report);
document.getElementById("verdicts").append(...chips(report.summary.verdicts, press));
document.getElementById("map").append(...entries.map((entry) => tileOf(entry, openEntry)));
document.getElementById("views").hidden = !report.summary.rollout;
for (const button of document.querySelectorAll("#views button"))
  button.addEventListener("click", () => show({ view: button.dataset.view }));
search.value = shown.text;
search.addEventListener("input", () => show({ text: search.value }));
hostsPlace.append(...entries.map(sectionOf));
render();
