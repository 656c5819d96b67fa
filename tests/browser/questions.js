// SPDX-FileCopyrightText: The stubdom.xen contributors
// SPDX-License-Identifier: GPL-3.0-or-later
//
// What the tests ask a page of an audit. They run beside the page's own script, and see its elements only.

const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const nameOf = (row) => row.querySelector(".name").textContent;

/** The names of the guests that have a row, in the order of the page. */
const names = () => all(".host:not([hidden]) details.guest").map(nameOf);

/** Name of each guest of a section -> its verdict. */
const verdicts = (section) => Object.fromEntries(all(`${section} details.guest`).map((row) => [nameOf(row), row.dataset.is]));

/** Verdict -> the number on its button. */
const counts = () =>
  Object.fromEntries(all("#verdicts button").map((chip) => [chip.dataset.is, Number(chip.querySelector("b").textContent)]));

const press = (words) => words.forEach((word) => document.querySelector(`#verdicts [data-is=${word}]`).click());
const view = (word) => document.querySelector(`[data-view=${word}]`).click();
const openOnly = (name) =>
  all("details.guest").forEach((row) => {
    row.open = nameOf(row) === name;
  });
const openAll = () =>
  all("details").forEach((part) => {
    part.open = true;
  });
const panels = () => all("details.guest[open] .panel").map((panel) => panel.innerText);
const text = (selector) => document.querySelector(selector).innerText;
const number = (selector) => all(selector).length;
const ground = () => getComputedStyle(document.body).backgroundColor;

/** [name, the longest of its bars] of each lane of a rollout; a whole lane is 1000. */
const lanes = () =>
  all(".lane").map((lane) => [
    lane.querySelector("b").textContent,
    Math.max(0, ...all("rect", lane).map((bar) => bar.width.baseVal.value)),
  ]);

/** Controls that somebody who does not see them, or has no mouse, could not use. */
const unusable = () =>
  all("button, a, input, summary")
    .filter((e) => !(e.textContent.trim() || e.getAttribute("aria-label") || e.labels?.length) || e.tabIndex < 0)
    .map((e) => e.outerHTML);

/** Rows that are not as they are to be on paper: open, if somebody should look. */
const wrongOnPaper = () =>
  all("details.guest")
    .filter((row) => row.open !== (row.dataset.is !== "as_described"))
    .map(nameOf);

// --- contrast, as WCAG 2.2 reckons it

const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });

/** Red, green and blue of a colour over another. */
function mixed(colour, under) {
  for (const paint of [`rgb(${under})`, colour]) {
    canvas.fillStyle = paint;
    canvas.fillRect(0, 0, 1, 1);
  }
  return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
}

const behind = (e) => (e ? mixed(getComputedStyle(e).backgroundColor, behind(e.parentElement)) : [255, 255, 255]);

function luminance(rgb) {
  const linear = rgb.map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return linear[0] * 0.2126 + linear[1] * 0.7152 + linear[2] * 0.0722;
}

function contrast(e) {
  const under = behind(e),
    over = mixed(getComputedStyle(e).color, under);
  const [low, high] = [luminance(over), luminance(under)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}

const hasText = (e) => [...e.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.textContent.trim());

/** Texts with less contrast than `least`: [contrast, text]. */
const unreadable = (least) =>
  all("body *")
    .filter((e) => e.checkVisibility() && hasText(e) && !e.closest("script, style, svg"))
    .map((e) => [contrast(e), e.textContent.slice(0, 40)])
    .filter(([found]) => found < least);

// --- speed

const drawn = () => new Promise((ready) => requestAnimationFrame(() => setTimeout(ready)));

/** Milliseconds until the first picture, and from a key until the slowest of some searches is shown; elements. */
async function measure() {
  const search = document.getElementById("search"),
    took = [];
  for (const wanted of ["web", "d", "drifted", "x1", "nothing", ""]) {
    const start = performance.now();
    search.value = wanted;
    search.dispatchEvent(new Event("input"));
    await drawn();
    took.push(performance.now() - start);
  }
  const paint = performance.getEntriesByName("first-contentful-paint")[0];
  return { filter_ms: Math.max(...took), paint_ms: paint.startTime, elements: number("*") };
}
