// The fields of what was found, with counts; a click asks for a value, or for all but it.

import { ask, asApiError, asked, Latest } from "./api.js";
import { button, h } from "./dom.js";
import { count, short } from "./format.js";
import { icon } from "./icons.js";
import { lacking } from "./lacking.js";
import { levelClass } from "./levels.js";
import { term, withTerm } from "./language.js";
import { go, read } from "./state.js";
import { toggleColumn } from "./details.js";
import { shown } from "./text.js";

/** @import { Field, State, Stats, Values } from "./types" */

const VALUES = 10;
const MORE = 10; // times as many, for who asks
const FIELDS_SHOWN = 60;
const WITHOUT_VALUES = ["timestamp", "message"];

export class Facets {
  #found = h("input", { type: "search", "aria-label": "Find a field", placeholder: "Find a field", autocomplete: "off", spellcheck: "false" });
  #list = h("ul", { class: "facets" });
  #note = h("p", { class: "note", role: "status" });
  element = h("aside", { class: "side", "aria-label": "Fields" }, this.#found, this.#note, this.#list);
  #asking = new Latest();
  /** @type {Field[]} */
  #fields = [];
  /** @type {State | null} */
  #state = null;
  /** @type {AbortSignal | null} of the questions for values */
  #signal = null;

  constructor() {
    this.#found.addEventListener("input", () => this.#draw());
  }

  stop() {
    this.#asking.stop();
  }

  /** @param {State} state */
  async show(state) {
    this.#state = state;
    const signal = (this.#signal = this.#asking.next());
    try {
      const { fields, stats } = /** @type {{ fields: Field[], stats: Stats }} */ (await ask("/api/v1/fields", asked(state), signal));
      this.#fields = fields.filter((field) => !WITHOUT_VALUES.includes(field.name));
      this.#note.replaceChildren(...lacking(stats));
      this.#draw();
    } catch (error) {
      if (signal.aborted) return;
      this.#fields = [];
      this.#list.replaceChildren();
      this.#note.textContent = asApiError(error).message;
    }
  }

  #draw() {
    const sought = this.#found.value.trim().toLowerCase();
    const fitting = this.#fields.filter((field) => field.name.toLowerCase().includes(sought));
    const opened = this.#state?.facets ?? [];
    this.#list.replaceChildren(...fitting.slice(0, FIELDS_SHOWN).map((field) => this.#facet(field, opened.includes(field.name))));
    const more = fitting.length - FIELDS_SHOWN;
    if (more > 0) this.#list.append(h("li", { class: "note" }, `${count(more)} more: type to find one`));
    else if (!fitting.length) this.#list.append(h("li", { class: "note" }, sought ? "no such field here" : "no fields"));
  }

  /** @param {Field} field @param {boolean} opened */
  #facet(field, opened) {
    const values = h("ol", { class: "values", hidden: !opened });
    const head = h("button", { type: "button", class: "facet", "aria-expanded": String(opened) }, h("span", {}, shown(field.name)), h("small", {}, short(field.count)));
    head.addEventListener("click", () => {
      const open = values.hidden;
      values.hidden = !open;
      head.setAttribute("aria-expanded", String(open));
      const others = read().facets.filter((name) => name !== field.name);
      go({ facets: open ? [...others, field.name] : others }, { replace: true });
      if (open) this.#ask(field, values);
    });
    if (opened) this.#ask(field, values);
    return h("li", {}, head, values);
  }

  /** @param {Field} field @param {HTMLOListElement} list @param {number} [limit] */
  async #ask(field, list, limit = VALUES) {
    const state = this.#state;
    const signal = this.#signal;
    if (!state || !signal || (list.childElementCount && limit === VALUES)) return;
    list.replaceChildren(h("li", { class: "note" }, "counting…"));
    try {
      const path = `/api/v1/fields/${encodeURIComponent(field.name)}/values`;
      const found = /** @type {Values} */ (await ask(path, { ...asked(state), limit }, signal));
      const most = found.values[0]?.count ?? 1;
      list.replaceChildren(...found.values.map((one) => this.#value(field, one, most)));
      const rest = found.distinct - found.values.length;
      const more = () => this.#ask(field, list, limit * MORE);
      list.append(h("li", { class: "note" }, rest > 0 && limit < VALUES * MORE ? button(`More values of ${field.name}`, `${count(rest)} more`, more, { class: "link" }) : rest > 0 ? `${count(rest)} more` : "", button(`Show or hide the column ${field.name}`, "as column", () => toggleColumn(field.name), { class: "link" })));
    } catch (error) {
      if (!signal.aborted) list.replaceChildren(h("li", { class: "note" }, asApiError(error).message));
    }
  }

  /** @param {Field} field @param {{ value: string, count: number }} one @param {number} most */
  #value(field, one, most) {
    const to = (/** @type {boolean} */ against) => go({ q: withTerm(read().q, term(field.name, one.value), against), open: "" });
    const bar = h("span", { class: `bar ${field.name === "level" ? levelClass(one.value) : ""}`, "aria-hidden": "true" });
    bar.style.width = `${(one.count / most) * 100}%`;
    const name = h("button", { type: "button", class: "pick", title: `Only ${field.name}: ${one.value.slice(0, 300)}` }, h("span", { class: "text" }, shown(one.value, { limit: 120 })), h("small", {}, short(one.count)));
    name.addEventListener("click", () => to(false));
    return h("li", {}, bar, name, button(`No events with ${field.name} ${one.value.slice(0, 60)}`, icon("minus"), () => to(true), { class: "not" }));
  }
}
