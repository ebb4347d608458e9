// The time range: those that are offered, any other typed, wider, and back.

import { byId, h } from "./dom.js";
import { icon } from "./icons.js";
import { go, read } from "./state.js";
import { moment, RANGES, rangeName, rfc3339, isRelative } from "./time.js";

/** @import { State } from "./types" */

export class RangePicker {
  #button = byId("range", HTMLButtonElement);
  #wider = byId("wider", HTMLButtonElement);
  #menu = byId("ranges", HTMLDivElement);
  #from = h("input", { id: "from", name: "from", autocomplete: "off", spellcheck: "false", placeholder: "2026-11-29 10:00, now-2h" });
  #to = h("input", { id: "to", name: "to", autocomplete: "off", spellcheck: "false", placeholder: "now" });
  #wrong = h("p", { class: "fault", role: "alert", hidden: true });

  constructor() {
    const offered = RANGES.map(([value, name]) => {
      const made = h("button", { type: "button", "data-range": value }, value === "all" ? "All time" : `Last ${name}`);
      made.addEventListener("click", () => this.#take(value, ""));
      return made;
    });
    const form = h("form", { class: "absolute" }, h("label", { for: "from" }, "From"), this.#from, h("label", { for: "to" }, "To"), this.#to, this.#wrong, h("button", {}, "Apply"));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#typed();
    });
    this.#menu.append(h("div", { class: "offered" }, offered), form);
    this.#menu.addEventListener("toggle", (event) => {
      const opened = /** @type {ToggleEvent} */ (event).newState === "open";
      this.#button.setAttribute("aria-expanded", String(opened));
      if (opened) this.#menu.querySelector("button")?.focus();
    });
    this.#wider.append(icon("wider"));
    this.#wider.addEventListener("click", zoomOut);
  }

  open() {
    this.#menu.showPopover();
  }

  /** @param {State} state */
  show(state) {
    const { from, to, utc } = state;
    this.#button.textContent = rangeName(from, to, utc);
    this.#from.value = from === "all" ? "" : from;
    this.#to.value = to;
    this.#wrong.hidden = true;
    this.#wider.disabled = from === "all";
    for (const one of this.#menu.querySelectorAll("button[data-range]")) {
      one.setAttribute("aria-pressed", String(one.getAttribute("data-range") === from && !to));
    }
  }

  #typed() {
    const { utc } = read();
    const [from, to] = [this.#from.value, this.#to.value].map((text) => moment(text, utc));
    const wrong = Number.isNaN(from) ? this.#from : Number.isNaN(to) ? this.#to : null;
    const late = from != null && to != null && from > to;
    if (wrong || late) {
      this.#wrong.textContent = wrong ? "Give 2026-11-29 10:00, now-2h or 15m." : "From is later than to.";
      this.#wrong.hidden = false;
      (wrong ?? this.#from).focus();
      return;
    }
    const said = (/** @type {string} */ text, /** @type {number | null | undefined} */ at) => (isRelative(text.trim()) || at == null ? text.trim() : rfc3339(at));
    this.#take(said(this.#from.value, from) || "all", said(this.#to.value, to));
  }

  /** @param {string} from @param {string} to */
  #take(from, to) {
    this.#menu.hidePopover();
    this.#button.focus();
    go({ from, to, open: "" });
  }
}

/** Twice the range, around the same middle; not into the future. */
export function zoomOut() {
  const { from, to, utc } = read();
  const now = Date.now();
  const low = moment(from, utc, now);
  if (low === null || Number.isNaN(low)) return;
  const high = moment(to, utc, now) ?? now;
  const half = (high - low) / 2;
  const end = Math.min(high + half, Math.max(now, high));
  go({ from: rfc3339(Math.max(0, end - 4 * half)), to: rfc3339(end), open: "" });
}
