// SPDX-FileCopyrightText: The stubdom.xen contributors
// SPDX-License-Identifier: GPL-3.0-or-later
//
// What is around the guests: the overview with its map of the fleet, a section for each host, and the lanes of a rollout.

const SQUARE = 11;

function overview(report) {
  const summary = report.summary,
    counts = summary.verdicts,
    right = counts.as_described;
  const hosts = [
    plural(summary.hosts, "host"),
    ...["unreachable", "failed"]
      .filter((state) => summary.hosts_by_state[state])
      .map((state) => `${summary.hosts_by_state[state]} ${state}`),
  ];
  document.getElementById("when").textContent =
    `${report.made.replace("T", " ").replace("Z", " UTC")} · ${hosts.join(", ")} · ${plural(summary.guests, "guest")}`;
  const head =
    summary.guests === 0
      ? "No guests were found"
      : right === summary.guests
        ? `All ${plural(right, "guest")} as described`
        : `${right} of ${plural(summary.guests, "guest")} as described`;
  const notes = [];
  if (summary.leftovers) notes.push(`${plural(summary.leftovers, "domain")} left over, serving nothing`);
  if (summary.errors) notes.push(`${plural(summary.errors, "host")} could not tell all`);
  document.getElementById("headline").append(head, el("small", {}, notes.join(" · ")));
  const share = document.getElementById("share"),
    words = ORDER.filter((word) => counts[word]).reverse();
  share.setAttribute("aria-label", words.map((word) => `${counts[word]} ${VERDICTS[word][1]}`).join(", "));
  share.append(
    ...words.map((word) => el("i", { "data-is": word, "--part": counts[word], title: `${counts[word]} ${VERDICTS[word][1]}` })),
  );
}

function chips(counts, press) {
  return ORDER.filter((word) => counts[word]).map((word) => {
    const chip = el(
      "button",
      { type: "button", "data-is": word, "aria-pressed": "false", title: VERDICTS[word][2] },
      glyph(word),
      VERDICTS[word][1],
      el("b", {}, counts[word]),
    );
    chip.addEventListener("click", () => press(word));
    return chip;
  });
}

/** A host in the map: a square for each guest, in the order of its section; one path for each verdict, whatever their number. */
function tileOf(entry, open) {
  const count = entry.items.length,
    columns = Math.max(14, Math.min(90, Math.ceil(Math.sqrt(count * 3)))),
    high = Math.max(1, Math.ceil(count / columns));
  const paths = {};
  entry.items.forEach((item, place) => {
    const word = item.guest.verdict,
      small = QUIET.includes(word) ? 2 : 0,
      size = 9 - 2 * small;
    const x = (place % columns) * SQUARE + small,
      y = Math.floor(place / columns) * SQUARE + small;
    paths[word] = `${paths[word] || ""}M${x} ${y}h${size}v${size}h${-size}z`;
  });
  const picture = drawn(
    "svg",
    { viewBox: `0 0 ${columns * SQUARE - 2} ${high * SQUARE - 2}`, "aria-hidden": "true" },
    drawn("title"),
    Object.entries(paths).map(([word, d]) => drawn("path", { d, "data-is": word })),
  );
  const at = (event) => {
    const area = picture.getBoundingClientRect(),
      scale = (columns * SQUARE - 2) / area.width;
    const x = Math.floor(((event.clientX - area.left) * scale) / SQUARE),
      y = Math.floor(((event.clientY - area.top) * scale) / SQUARE);
    return x >= 0 && x < columns && y >= 0 ? entry.items[y * columns + x] : undefined;
  };
  picture.addEventListener("mousemove", (event) => {
    const item = at(event);
    picture.firstChild.textContent = item ? `${item.guest.name}: ${VERDICTS[item.guest.verdict][1]}` : "";
  });
  const away = entry.host.state !== "audited",
    domain = commonDomain();
  const tile = el(
    "a",
    { class: away ? "tile away" : "tile", href: `#${entry.id}`, "--wide": `${columns * SQUARE * 0.95}px` },
    el(
      "header",
      {},
      el("b", { title: entry.host.name }, entry.host.name.slice(0, entry.host.name.length - domain.length)),
      el("span", {}, away ? "away" : count),
    ),
    count > 0 && picture,
  );
  tile.addEventListener("click", (event) => {
    event.preventDefault();
    open(entry, event.target === tile ? undefined : at(event));
  });
  return tile;
}

/** What the names of all hosts end in, such as .example.org: the map has no room for it. */
function commonDomain() {
  const tails = new Set(report.hosts.map((host) => (host.name.includes(".") ? host.name.slice(host.name.indexOf(".")) : "")));
  return tails.size === 1 && report.hosts.length > 1 ? [...tails][0] : "";
}

function sectionOf(entry) {
  const host = entry.host,
    facts = host.xen;
  const about = facts
    ? `Xen ${facts.version} · ${plural(facts.cpus, "CPU")} · ${gib(facts.memory.free)} of ${gib(facts.memory.total)} GiB free`
    : host.state;
  const counts = ORDER.filter((word) => host.verdicts[word]).map((word) =>
    el("span", { title: VERDICTS[word][1] }, glyph(word), " ", host.verdicts[word]),
  );
  const told = new Set(host.guests.flatMap((guest) => guest.leftovers.map((domain) => domain.domid)));
  const lost = host.leftovers.filter((domain) => !told.has(domain.domid));
  entry.body = el("div");
  entry.section = el(
    "section",
    { class: "host", id: entry.id, "aria-label": `Host ${host.name}` },
    el(
      "header",
      {},
      el("h2", {}, host.name),
      el("span", { class: "soft" }, about),
      !host.described && host.state === "audited" && el("span", { class: "soft" }, "the inventory describes no guests here"),
      el("span", { class: "counts" }, counts),
    ),
    host.error && failure(host.error),
    lost.length > 0 &&
      el(
        "div",
        { class: "failure", "data-is": "leftovers" },
        el(
          "p",
          {},
          `Serve nothing, and their guests are gone: ${lost.map((domain) => `${domain.name} (domain ${domain.domid})`).join(", ")}`,
        ),
      ),
    entry.body,
  );
  return entry.section;
}

// --- a rollout: a lane for each guest, all on one scale

function legend(longest) {
  const words = { host0: "reported by domain 0", stubdomain: "by its stubdomain", vtpm: "by its TPM's domain" };
  return el(
    "p",
    { class: "legend" },
    Object.entries(words).map(([role, text]) => el("span", {}, el("i", { "data-by": role }), text)),
    el("span", {}, `a bar for each link of the chain, until it held; a whole lane is ${seconds(longest)}`),
  );
}

function laneOf(item, longest, open) {
  const told = item.guest.rollout,
    links = told.links.filter((link) => link.after_s !== null),
    high = Math.max(links.length, 1);
  const bars = links.map((link, place) =>
    drawn("rect", {
      x: 0,
      y: (100 * place) / high + 6 / high,
      width: Math.max((1000 * link.after_s) / longest, 2),
      height: 80 / high,
      "data-by": by(item.guest, link),
    }),
  );
  const ticks = [0.25, 0.5, 0.75, 1].map((part) => drawn("line", { x1: 1000 * part, x2: 1000 * part, y1: 0, y2: 100 }));
  const lane = el(
    "button",
    { type: "button", class: "lane", title: "Show this guest" },
    el("span", {}, el("b", {}, item.guest.name), el("span", { class: "soft" }, ` ${item.host.name}`)),
    drawn("svg", { viewBox: "0 0 1000 100", preserveAspectRatio: "none", "aria-hidden": "true" }, ticks, bars),
    el("span", { class: told.failed ? "bad" : "" }, told.failed ? "failed" : links.length ? seconds(told.took_s) : "at once"),
  );
  lane.addEventListener("click", () => open(item));
  return lane;
}
