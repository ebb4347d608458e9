// With what a range is compared.

import { h } from "./dom.js";
import { go } from "./state.js";
import { durationMs, moment, rfc3339 } from "./time.js";

/** @import { State } from "./types" */

const OFFERED = /** @type {[string, string][]} */ ([
  ["before", "the range before"],
  ["1h", "an hour earlier"],
  ["1d", "a day earlier"],
  ["7d", "a week earlier"],
  ["range", "another range…"],
  ["none", "nothing"],
]);

/**
 * The range of a state, and the one to compare it with, both by the same clock; null for what there is not.
 * @param {State} state
 * @returns {{ from: string, to: string, compare: { compare_from: string, compare_to: string } | null }}
 */
export function compared(state) {
  const now = Date.now();
  const low = moment(state.from, state.utc, now);
  const high = moment(state.to, state.utc, now) ?? now;
  const to = rfc3339(high);
  if (state.compare === "range") {
    const [from, until] = [state.compareFrom, state.compareTo];
    return { from: low === null ? "" : rfc3339(low), to, compare: from || until ? { compare_from: from, compare_to: until } : null };
  }
  if (low === null || Number.isNaN(low) || state.compare === "none") return { from: low === null ? "" : state.from, to: low === null ? state.to : to, compare: null };
  const back = state.compare === "before" ? high - low : durationMs(state.compare);
  return { from: rfc3339(low), to, compare: { compare_from: rfc3339(low - back), compare_to: rfc3339(high - back) } };
}

/**
 * What to choose it with.
 * @param {State} state
 * @returns {Node[]}
 */
export function compareControls(state) {
  const select = h("select", { "aria-label": "Compare with", id: "compare" }, OFFERED.map(([value, name]) => h("option", { value, selected: value === state.compare }, name)));
  select.addEventListener("change", () => go({ compare: select.value }));
  const label = h("label", { for: "compare", class: "note" }, "compared with");
  if (state.compare !== "range") return [label, select];
  const input = (/** @type {"compareFrom" | "compareTo"} */ name, /** @type {string} */ said) => {
    const made = h("input", { "aria-label": said, placeholder: said, value: state[name], autocomplete: "off", spellcheck: "false", size: 22 });
    made.addEventListener("change", () => {
      const at = moment(made.value, state.utc);
      const wrong = Number.isNaN(at);
      made.setAttribute("aria-invalid", String(wrong));
      if (!wrong) go({ [name]: at === null ? "" : rfc3339(at) });
    });
    return made;
  };
  return [label, select, input("compareFrom", "from: 2026-11-29 10:00, now-2h"), input("compareTo", "to: 2026-11-29 11:00, now-1h")];
}
