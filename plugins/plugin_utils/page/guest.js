// SPDX-FileCopyrightText: The stubdom.xen contributors
// SPDX-License-Identifier: GPL-3.0-or-later
//
// One guest: the words for what it is, and its row.

const VERDICTS = {
  degraded: ["✕", "degraded", "it does not work as it should"],
  unreachable: ["–", "unreachable", "its host could not be looked at"],
  refused: ["⊘", "refused", "this host cannot have it as it is described"],
  missing: ["◌", "missing", "described, and not there"],
  drifted: ["≠", "drifted", "otherwise than described"],
  leftovers: ["⋯", "leftovers", "domains remain that serve nothing"],
  not_described: ["?", "not described", "there, and not in the inventory"],
  as_described: ["✓", "as described", "nothing would change"],
};
const ORDER = Object.keys(VERDICTS);
const QUIET = ["as_described", "unreachable"]; // of such guests there may be many, and nothing is to be said of each

function glyph(word) {
  return el("span", { class: "glyph", "data-is": word, "aria-hidden": "true" }, VERDICTS[word][0]);
}

function rowOf(item, opened) {
  const guest = item.guest;
  const row = el(
    "details",
    { class: "guest", "data-is": guest.verdict, "data-key": item.key },
    el(
      "summary",
      {},
      el("span", { class: "word" }, glyph(guest.verdict), " ", VERDICTS[guest.verdict][1]),
      el("span", { class: "name", title: guest.name }, guest.name),
      el("span", { class: "kind soft" }, guest.type || ""),
      el(
        "span",
        {
          class: "ids soft",
          title: own(guest)
            .map((domain) => `${domain.name}: ${domain.domid ?? "no domain"}`)
            .join("\n"),
        },
        idsOf(guest),
      ),
      el("span", { class: "what", title: summaryOf(guest) }, summaryOf(guest)),
      guest.needs && guest.needs !== "none"
        ? el("span", { class: "needs", "data-needs": guest.needs, title: "what it takes" }, guest.needs)
        : el("span"),
    ),
  );
  row.addEventListener("toggle", () => {
    opened[row.open ? "add" : "delete"](item.key);
    if (row.open && row.childElementCount === 1) row.append(panelOf(guest));
  });
  row.open = opened.has(item.key);
  return row;
}

/** The domids of a guest's domains on one line. */
function idsOf(guest) {
  return (
    own(guest)
      .map((domain) => domain.domid ?? "gone")
      .join(" + ") ||
    guest.state ||
    ""
  );
}

function own(guest) {
  return guest.domains.filter((domain) => domain.role !== "leftover");
}

/** Why a guest has its verdict, on one line. */
function summaryOf(guest) {
  if (guest.verdict === "degraded") return guest.evidence[guest.evidence.length - 1] || "its readiness chain does not hold";
  if (guest.error) return guest.error.msg;
  if (guest.verdict === "unreachable") return "";
  if (guest.verdict === "missing") return `wanted ${guest.wanted}`;
  const stands =
    guest.wanted && guest.wanted !== "present" && guest.wanted !== guest.state ? [`${guest.state}, wanted ${guest.wanted}`] : [];
  const fields = guest.differs.map((row) => row.field);
  const extra = guest.leftovers.length ? [`${plural(guest.leftovers.length, "domain")} left over`] : [];
  const waits = guest.queued && guest.pending.length ? ["waits for a reboot"] : [];
  if (guest.verdict === "as_described") return guest.state;
  return [...stands, ...fields, ...waits, ...extra].join(", ") || guest.state || "";
}
