// SPDX-FileCopyrightText: The stubdom.xen contributors
// SPDX-License-Identifier: GPL-3.0-or-later
//
// What opens below a guest's row: made when it is opened, and not before.

const ROLES = {
  stubdomain: "runs its device model",
  vtpm: "holds its TPM",
  leftover: "serves nothing",
  host0: "runs its device model",
};

function panelOf(guest) {
  const parts = [
    domains(guest),
    degraded(guest),
    refused(guest),
    differs(guest),
    steps(guest),
    pending(guest),
    chain(guest),
    rolled(guest),
    truths(guest),
  ];
  return el("div", { class: "panel" }, parts.filter(Boolean));
}

function part(title, wide, ...kids) {
  return el("section", { class: wide ? "wide" : "" }, el("h3", {}, title), kids);
}

// --- its domains, as a tree: the guest, and the domains that it leans on

function domains(guest) {
  const itself = guest.domains.find((domain) => domain.role === "guest");
  const others = guest.domains.filter((domain) => domain !== itself);
  if (itself && guest.type === "hvm" && !others.some((domain) => domain.role === "stubdomain")) {
    others.unshift({ role: "host0", name: "Domain-0", domid: 0, alive: true });
  }
  const root = itself || { role: "guest", name: guest.name, domid: null, alive: true };
  return part(
    "Domains",
    false,
    el(
      "ul",
      { class: "tree" },
      el(
        "li",
        {},
        box(root, guest.state),
        others.length > 0 &&
          el(
            "ul",
            {},
            others.map((domain) => el("li", {}, box(domain, stateOf(domain)))),
          ),
      ),
    ),
    el(
      "p",
      { class: "soft" },
      [guest.type, guest.uuid, guest.managed ? "its file is this collection's" : ""].filter(Boolean).join(" · "),
    ),
  );
}

function stateOf(domain) {
  return domain.alive
    ? ROLES[domain.role]
    : domain.role === "leftover"
      ? "serves nothing"
      : `dead: ${ROLES[domain.role].replace("runs", "ran").replace("holds", "held")}`;
}

function box(domain, state) {
  const number = domain.domid === null ? "no domain" : `domain ${domain.domid}`;
  return el(
    "div",
    { class: `box ${domain.role}${domain.alive ? "" : " dead"}` },
    el("b", {}, domain.name),
    el("span", {}, number),
    el("span", {}, state || ""),
  );
}

// --- what is wrong with it

function degraded(guest) {
  if (guest.verdict !== "degraded") return null;
  const broken = guest.readiness.filter((link) => link.holds === false);
  const chain = broken.length ? [`of its readiness chain do not hold: ${broken.map((link) => link.link).join(", ")}`] : [];
  return part(
    "Why it is degraded",
    false,
    el(
      "ul",
      { class: "facts" },
      [...guest.evidence, ...chain].map((text) => el("li", {}, text)),
    ),
  );
}

function wanted(link) {
  return link.want === "*" ? "any value" : link.want;
}

function refused(guest) {
  if (!guest.error) return null;
  const evidence = guest.error.evidence;
  return part(
    "Why it is refused",
    false,
    failure(guest.error),
    evidence !== null && el("pre", {}, JSON.stringify(evidence, null, 1)),
  );
}

function failure(error) {
  return el(
    "div",
    { class: "failure" },
    el("p", {}, error.code && el("code", {}, error.code), error.code && " ", error.msg || ""),
    error.hint && el("p", {}, error.hint),
  );
}

function differs(guest) {
  if (!guest.differs.length) return null;
  const cell = (row, truth) => {
    const value = row[truth],
      none = value === null;
    const other = truth !== "desired" && !none && said(value) !== said(row.desired);
    return el(
      "td",
      { class: none ? "none" : other || value === HIDDEN ? "other" : "", title: none ? "does not say" : null },
      said(value),
    );
  };
  const heads = ["field", "desired", "stored", "live"];
  return part(
    "What differs",
    true,
    el(
      "div",
      { class: "scroll" },
      el(
        "table",
        {},
        el(
          "thead",
          {},
          el(
            "tr",
            {},
            heads.map((head) => el("th", { scope: "col" }, head)),
          ),
        ),
        el(
          "tbody",
          {},
          guest.differs.map((row) =>
            el(
              "tr",
              {},
              el("th", { scope: "row" }, row.field),
              heads.slice(1).map((truth) => cell(row, truth)),
            ),
          ),
        ),
      ),
    ),
  );
}

function steps(guest) {
  if (!guest.plan.length) return null;
  return part(
    "What a run would do",
    false,
    el(
      "ol",
      { class: "steps" },
      guest.plan.map((step) =>
        el(
          "li",
          {},
          el("code", {}, step.step),
          step.field ? ` ${step.field}` : "",
          " ",
          el("span", { class: "soft" }, step.field ? step.reason : step.says || step.reason),
          step.disruption !== "none" && el("span", { class: "bad" }, ` (${step.disruption})`),
        ),
      ),
    ),
  );
}

function pending(guest) {
  // why a degraded guest is not what it should be was told already
  const rows = guest.pending.filter((waits) => guest.verdict !== "degraded" || waits.field !== "state");
  if (!rows.length) return null;
  return part(
    "What would wait",
    false,
    el(
      "ul",
      { class: "steps" },
      rows.map((waits) => el("li", {}, el("b", {}, waits.field), " ", el("span", { class: "soft" }, waits.reason))),
    ),
    guest.queued && el("p", { class: "soft" }, "The guest's own next reboot brings what is in its file."),
  );
}

// --- its readiness chain, now and as it came up

function by(guest, link) {
  if (link.domain === 0) return "host0";
  const domain = guest.domains.find((other) => other.domid === link.domain && other.role === "vtpm");
  return domain || link.link.startsWith("vtpm") ? "vtpm" : "stubdomain";
}

function chain(guest) {
  if (!guest.readiness.length) return null;
  const line = (link) => {
    const broken = link.holds === false;
    return el(
      "li",
      {},
      el("span", { class: broken ? "bad" : "" }, broken ? "✕ " : "✓ "),
      el("b", {}, link.link),
      ` domain ${link.domain} `,
      el("code", { class: "soft" }, `${link.path} = ${link.value ?? "(nothing)"}`),
      broken && el("span", { class: "bad" }, ` wanted ${wanted(link)}`),
    );
  };
  return part("Its readiness chain now", true, el("ul", { class: "chain" }, guest.readiness.map(line)));
}

function rolled(guest) {
  if (!guest.rollout) return null;
  const told = guest.rollout,
    longest = Math.max(told.took_s, 0.001);
  const links = [...told.links].sort((a, b) => (a.after_s ?? Infinity) - (b.after_s ?? Infinity));
  const line = (link) => [
    el("b", {}, link.link),
    el("span", { class: "who soft" }, `domain ${link.domain}`),
    el(
      "div",
      { class: "track", "data-by": by(guest, link) },
      link.after_s !== null && el("div", { class: "bar", "--part": `${(100 * link.after_s) / longest}%` }),
    ),
    el("span", { class: link.after_s === null ? "late bad" : "late" }, link.after_s === null ? "never" : seconds(link.after_s)),
    el("div", { class: "path" }, `${link.path} = ${link.value ?? "(nothing)"}`),
  ];
  return part(
    told.failed ? "How it failed to come up" : "How it came up",
    true,
    told.error && failure(told.error),
    links.length ? el("div", { class: "bars" }, links.flatMap(line)) : el("p", { class: "soft" }, "Its chain has no links."),
  );
}

function truths(guest) {
  const words = ["desired", "stored", "live"].filter((word) => guest[word]);
  if (!words.length) return null;
  const whole = el("details", {}, el("summary", {}, `The whole description: ${words.join(", ")}`));
  whole.addEventListener("toggle", () => {
    if (whole.childElementCount > 1) return;
    whole.append(
      el(
        "div",
        { class: "truths" },
        words.map((word) =>
          el("div", {}, el("b", {}, word), el("pre", {}, JSON.stringify(guest[word], null, 1).replaceAll(HIDDEN, "(hidden)"))),
        ),
      ),
    );
  });
  return el("section", { class: "wide" }, whole);
}
