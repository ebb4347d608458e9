// The rows of a query with pipes.

import { h } from "./dom.js";
import { count } from "./format.js";
import { groupsOf, split, term, withTerm } from "./language.js";
import { address, go, read } from "./state.js";
import { shown } from "./text.js";
import { full } from "./time.js";

/** @import { Found, State } from "./types" */

const ROWS = 1000; // shown at most: who wants them all takes them as a file

/**
 * @param {Found} found
 * @param {State} state
 */
export function tableOf({ columns = [], rows = [] }, state) {
  const { utc } = state;
  const isNumber = columns.map((column) => column.type === "number");
  const groups = groupsOf(state.q);
  let sorted = rows;
  const body = h("tbody", {});
  const draw = () => {
    body.replaceChildren(...sorted.slice(0, ROWS).map((row) => h("tr", {}, row.map((value, i) => cell(value, columns[i]?.type ?? "", Boolean(isNumber[i]), utc, groups.includes(columns[i]?.name ?? "") ? columns[i]?.name : undefined)))));
  };
  const heads = columns.map((column, i) => {
    const head = h("button", { type: "button" }, shown(column.name), column.approximate ? " ≈" : "");
    const made = h("th", { scope: "col", class: isNumber[i] ? "number" : null, title: column.approximate ? "approximate" : null }, head);
    head.addEventListener("click", () => {
      const sort = read().sort;
      const down = sort === column.name || (sort !== `-${column.name}` && Boolean(isNumber[i]));
      go({ sort: `${down ? "-" : ""}${column.name}` }, { replace: true });
      order(i, down);
    });
    return made;
  });
  const order = (/** @type {number} */ by, /** @type {boolean} */ down) => {
    sorted = by < 0 ? rows : rows.toSorted((a, b) => compare(a[by], b[by]) * (down ? -1 : 1));
    heads.forEach((one, at) => one.setAttribute("aria-sort", at !== by ? "none" : down ? "descending" : "ascending"));
    draw();
  };
  const by = columns.findIndex(({ name }) => state.sort === name || state.sort === `-${name}`);
  order(by, state.sort === `-${columns[by]?.name}`);
  const note = rows.length > ROWS ? h("p", { class: "note" }, `the first ${count(ROWS)} of ${count(rows.length)} rows; Export has them all`) : null;
  return h("div", { class: "table", tabindex: "0", role: "region", "aria-label": "Result table" }, h("table", {}, h("thead", {}, h("tr", {}, heads)), body), note);
}

/** `group`: the field that the value is of, whose events can be shown. @param {unknown} value @param {string} type @param {boolean} isNumber @param {boolean} utc @param {string} [group] */
function cell(value, type, isNumber, utc, group) {
  if (value === null) return h("td", { class: isNumber ? "number" : null }, "–");
  if (isNumber && typeof value === "number") return h("td", { class: "number" }, number(value));
  if (type === "time") return h("td", { class: "time" }, full(String(value), utc, 0));
  const text = shown(typeof value === "object" ? JSON.stringify(value) : String(value), { limit: 2000 });
  if (group === undefined || typeof value !== "string") return h("td", {}, text);
  const to = () => address({ q: withTerm(split(read().q).filter, term(group, value)), sort: "" });
  return h("td", {}, h("a", { href: to(), title: "Show these events" }, text));
}

/** Six digits behind the point; of what is smaller than one as many that count. @param {number} value */
function number(value) {
  const digits = Math.abs(value) < 1 ? { maximumSignificantDigits: 6 } : { maximumFractionDigits: 6 };
  return value !== 0 && Math.abs(value) < 1e-6 ? value.toExponential(3) : value.toLocaleString("en-US", digits);
}

/** @param {unknown} a @param {unknown} b */
function compare(a, b) {
  if (a === b) return 0;
  if (a === null) return 1;
  if (b === null) return -1;
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}
