// The rows of a query with pipes.

import { h } from "./dom.js";
import { count } from "./format.js";
import { shown } from "./text.js";
import { full } from "./time.js";

/** @import { Found } from "./types" */

const ROWS = 1000; // shown at most: who wants them all takes them as a file

/**
 * @param {Found} found
 * @param {boolean} utc
 */
export function tableOf({ columns = [], rows = [] }, utc) {
  const isNumber = columns.map((column) => column.type === "number");
  let sorted = rows;
  let by = -1;
  let down = false;
  const body = h("tbody", {});
  const draw = () => {
    body.replaceChildren(...sorted.slice(0, ROWS).map((row) => h("tr", {}, row.map((value, i) => cell(value, columns[i]?.type ?? "", Boolean(isNumber[i]), utc)))));
  };
  const heads = columns.map((column, i) => {
    const head = h("button", { type: "button" }, shown(column.name), column.approximate ? " ≈" : "");
    const made = h("th", { scope: "col", class: isNumber[i] ? "number" : null, title: column.approximate ? "approximate" : null }, head);
    head.addEventListener("click", () => {
      down = by === i ? !down : Boolean(isNumber[i]);
      by = i;
      sorted = rows.toSorted((a, b) => compare(a[i], b[i]) * (down ? -1 : 1));
      heads.forEach((one, at) => one.setAttribute("aria-sort", at !== i ? "none" : down ? "descending" : "ascending"));
      draw();
    });
    return made;
  });
  draw();
  const note = rows.length > ROWS ? h("p", { class: "note" }, `the first ${count(ROWS)} of ${count(rows.length)} rows; Export has them all`) : null;
  return h("div", { class: "table", tabindex: "0", role: "region", "aria-label": "Result table" }, h("table", {}, h("thead", {}, h("tr", {}, heads)), body), note);
}

/** @param {unknown} value @param {string} type @param {boolean} isNumber @param {boolean} utc */
function cell(value, type, isNumber, utc) {
  if (value === null) return h("td", { class: isNumber ? "number" : null }, "–");
  if (isNumber && typeof value === "number") return h("td", { class: "number" }, value.toLocaleString("en-US", { maximumFractionDigits: 6 }));
  if (type === "time") return h("td", { class: "time" }, full(String(value), utc, 0));
  return h("td", {}, shown(typeof value === "object" ? JSON.stringify(value) : String(value), { limit: 2000 }));
}

/** @param {unknown} a @param {unknown} b */
function compare(a, b) {
  if (a === b) return 0;
  if (a === null) return 1;
  if (b === null) return -1;
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}
