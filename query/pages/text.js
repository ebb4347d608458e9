// Log text is hostile: what would steer the screen is shown, and not done. It only ever becomes text nodes.

import { h } from "./dom.js";
import { codeOf, nameOf, STEERING } from "./steering.js";

/**
 * @typedef {object} How
 * @property {number} [limit] characters shown at most
 * @property {boolean} [lines] keep line breaks; else each is a sign
 * @property {RegExp | null} [marked] what is highlighted; it has the flag g
 */

/**
 * The nodes that show a text.
 * @param {string} text
 * @param {How} [how]
 * @returns {Node}
 */
export function shown(text, { limit = Infinity, lines = false, marked = null } = {}) {
  const cut = text.length > limit ? text.slice(0, limit) : text;
  const made = document.createDocumentFragment();
  let at = 0;
  for (const found of cut.matchAll(STEERING)) {
    plain(made, cut.slice(at, found.index), lines, marked);
    made.append(sign(found[0]));
    at = found.index + found[0].length;
  }
  plain(made, cut.slice(at), lines, marked);
  if (cut.length < text.length) made.append(h("span", { class: "more" }, `… ${sizeOf(text.length)} in all`));
  return made;
}

/** @param {string} steering */
function sign(steering) {
  const title = steering.length > 2 ? `escape sequence ${JSON.stringify(steering).slice(1, -1)}` : codeOf(steering);
  return h("span", { class: "sign", title }, nameOf(steering));
}

/**
 * @param {DocumentFragment} made
 * @param {string} text
 * @param {boolean} lines
 * @param {RegExp | null} marked
 */
function plain(made, text, lines, marked) {
  if (!text) return;
  const flat = lines ? text : text.replace(/\n/g, "↵");
  if (!marked) {
    made.append(flat);
    return;
  }
  let at = 0;
  for (const found of flat.matchAll(marked)) {
    if (!found[0]) continue;
    made.append(flat.slice(at, found.index), h("mark", {}, found[0]));
    at = found.index + found[0].length;
  }
  made.append(flat.slice(at));
}

/** @param {number} characters */
function sizeOf(characters) {
  return characters >= 1e6 ? `${(characters / 1e6).toFixed(1)} million characters` : `${characters.toLocaleString("en-US")} characters`;
}

/**
 * What finds any of these terms, whatever their case; null for none.
 * @param {string[]} terms
 */
export function finder(terms) {
  const escaped = terms.filter((term) => term.trim()).map((term) => term.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  return escaped.length ? new RegExp(escaped.sort((a, b) => b.length - a.length).join("|"), "giu") : null;
}

/**
 * A template, its variables set apart.
 * @param {string} template
 * @returns {Node}
 */
export function templateNodes(template) {
  const made = document.createDocumentFragment();
  template.split("<*>").forEach((piece, i) => {
    if (i) made.append(h("span", { class: "variable" }, "<*>"));
    made.append(shown(piece));
  });
  return made;
}
