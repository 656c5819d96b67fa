// SPDX-FileCopyrightText: The stubdom.xen contributors
// SPDX-License-Identifier: GPL-3.0-or-later
//
// How elements are made: text is always text, never HTML, whoever wrote it.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const HIDDEN = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER";

/** An element. given: attributes, and `class`; kids: elements, texts, and what is false, which is left out. */
function el(name, given = {}, ...kids) {
  return filled(document.createElement(name), given, kids);
}

function drawn(name, given = {}, ...kids) {
  return filled(document.createElementNS(SVG, name), given, kids);
}

function filled(element, given, kids) {
  for (const [key, value] of Object.entries(given)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("--")) element.style.setProperty(key, value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...kids.flat().filter((kid) => kid !== false && kid !== null && kid !== undefined && kid !== ""));
  return element;
}

/** A value of a guest's options on one line. */
function said(value) {
  if (value === null || value === undefined) return "—";
  if (value === HIDDEN) return "(hidden)";
  if (value === "") return '""';
  if (Array.isArray(value)) return value.length ? value.map(said).join(", ") : "none";
  if (typeof value === "object")
    return Object.entries(value)
      .map(([key, item]) => `${key}=${said(item)}`)
      .join(" ");
  return String(value);
}

function plural(count, what) {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}

function seconds(value) {
  return `${value.toFixed(value < 10 ? 2 : 1)} s`;
}

const GIB = 1024 ** 3;

function gib(bytes) {
  return (bytes / GIB).toFixed(bytes < 10 * GIB ? 1 : 0);
}

/** Fills each of these places when it comes near the window: `build` gives its elements. A page of thousands stays small. */
const near = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) if (entry.isIntersecting) fill(entry.target);
  },
  { rootMargin: "900px" },
);
const builds = new WeakMap();

function lazily(rows, build) {
  const place = el("div", { class: "chunk", "--rows": rows });
  builds.set(place, build);
  near.observe(place);
  return place;
}

function fill(place) {
  const build = builds.get(place);
  if (!build) return;
  builds.delete(place);
  near.unobserve(place);
  place.append(...build());
}

const CHUNK = 40;

/** Items as places of some dozens each. */
function chunked(items, row) {
  const places = [];
  for (let start = 0; start < items.length; start += CHUNK) {
    const some = items.slice(start, start + CHUNK);
    places.push(lazily(some.length, () => some.map(row)));
  }
  return places;
}
