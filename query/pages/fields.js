// Fields: what the events of a query have more often than others: the first hint at what they have in common.

import { ask, asApiError, asked, Latest } from "./api.js";
import { toggleColumn } from "./details.js";
import { button, h } from "./dom.js";
import { count, percent, plural, short } from "./format.js";
import { lacking } from "./lacking.js";
import { icon } from "./icons.js";
import { split, term, tokenize, withTerm } from "./language.js";
import { compareControls, compared } from "./ranges.js";
import { address, go, read } from "./state.js";
import { shown } from "./text.js";

/** @import { ApiError } from "./api.js" */
/** @import { Difference, Differences, Field, State, View } from "./types" */

const AGAINST = /** @type {[string, string][]} */ ([["rest", "the rest of the range"], ["query", "another query"], ["range", "another range"]]);

/** @implements {View} */
export class Fields {
  #bar = h("div", { class: "viewbar" });
  #summary = h("p", { class: "summary", role: "status", "aria-live": "polite" });
  #differences = h("div", { class: "differences" });
  #all = h("div", { class: "allfields" });
  element = h("div", { class: "scroll" }, this.#bar, this.#summary, h("div", { class: "twocolumns" },
    h("section", { "aria-labelledby": "more-often" }, h("h2", { id: "more-often" }, "More often here"), this.#differences),
    h("section", { "aria-labelledby": "all-fields" }, h("h2", { id: "all-fields" }, "All fields"), this.#all)));
  #asking = new Latest();
  #fail;
  #asked = "";

  /** @param {(error: ApiError | null) => void} fail */
  constructor(fail) {
    this.#fail = fail;
  }

  leave() {
    this.#asking.stop();
    this.#asked = "";
  }

  /** @param {State} state @param {boolean} fresh */
  show(state, fresh) {
    const question = JSON.stringify([asked(state), state.show, state.other, state.compare, state.compareFrom, state.compareTo]);
    if (question === this.#asked && !fresh) return;
    this.#asked = question;
    this.#controls(state);
    this.#ask(state);
  }

  /** @param {State} state */
  #controls(state) {
    const kind = state.show || "rest";
    const against = h("select", { id: "against", "aria-label": "Compare the events of the query with" }, AGAINST.map(([value, name]) => h("option", { value, selected: value === kind }, name)));
    against.addEventListener("change", () => go({ show: against.value === "rest" ? "" : against.value }));
    const made = /** @type {Node[]} */ ([h("label", { for: "against", class: "note" }, "What the events of the query have more often than"), against]);
    if (kind === "query") {
      const other = h("input", { "aria-label": "The other query", placeholder: "the other query", value: state.other, size: 40, class: "mono", autocomplete: "off", spellcheck: "false" });
      other.addEventListener("change", () => go({ other: other.value }));
      made.push(other);
    }
    if (kind === "range") made.push(...compareControls(state));
    this.#bar.replaceChildren(...made);
  }

  /** @param {State} state */
  async #ask(state) {
    const signal = this.#asking.next();
    this.element.classList.add("asking");
    try {
      const [all] = await Promise.all([ask("/api/v1/fields", asked(state), signal), this.#compare(state, signal)]);
      this.#showFields(/** @type {{ fields: Field[] }} */ (all).fields, state);
      this.#fail(null);
    } catch (error) {
      if (signal.aborted) return;
      const said = asApiError(error);
      this.#fail(said);
      this.#summary.replaceChildren();
      this.#all.replaceChildren();
      this.#differences.replaceChildren(h("p", { class: "nothing" }, said.position ? "There are no fields of this; what is in the way is underlined." : shown(said.message)));
    } finally {
      if (!signal.aborted) this.element.classList.remove("asking");
    }
  }

  /** @param {State} state @param {AbortSignal} signal */
  async #compare(state, signal) {
    const kind = state.show || "rest";
    const { from, to, compare } = compared(state);
    const isEverything = ["", "*"].includes(split(state.q).filter);
    if (kind === "rest" && isEverything) {
      this.#summary.replaceChildren();
      this.#differences.replaceChildren(h("p", { class: "note" }, "Ask for some events, errors for one, to see what they have more often than the rest: ", h("a", { href: address({ q: "level:>=error" }) }, "level:>=error")));
      return;
    }
    if ((kind === "range" && !compare) || (kind === "query" && !state.other)) {
      this.#summary.replaceChildren();
      this.#differences.replaceChildren(h("p", { class: "note" }, kind === "range" ? "Choose a range to compare with." : "Give the query to compare with."));
      return;
    }
    const other = kind === "range" ? compare : kind === "query" ? { compare_q: state.other } : {};
    const found = /** @type {Differences} */ (await ask("/api/v1/fields/compare", { ...asked(state), from, to, ...other, limit: 50 }, signal));
    this.#summary.replaceChildren(
      h("strong", {}, `${plural(found.total_events, "event")} against ${count(found.other_events)}`),
      h("span", { class: "cost" }, `every event counted · ${Math.round(found.stats.elapsed_ms)} ms`),
      ...lacking(found.stats),
    );
    const known = askedAbout(state.q);
    const news = found.differences.filter((one) => !known.has(one.field));
    if (!news.length) this.#differences.replaceChildren(h("p", { class: "note" }, found.total_events && found.other_events ? "Nothing tells them apart, but what the query says." : "One side has no events."));
    else this.#differences.replaceChildren(this.#table(news, state));
  }

  /** @param {Difference[]} differences @param {State} state */
  #table(differences, state) {
    return h("table", {},
      h("thead", {}, h("tr", {}, ["field", "value", "here", "there", ""].map((name) => h("th", { scope: "col" }, name || h("span", { class: "away" }, "acts"))))),
      h("tbody", {}, differences.map((one) => this.#row(one, state))));
  }

  /** @param {Difference} one @param {State} state */
  #row(one, state) {
    const found = term(one.field, one.value);
    return h("tr", {},
      h("th", { scope: "row" }, shown(one.field)),
      h("td", { class: "value" }, h("a", { href: address({ view: "explore", q: withTerm(state.q, found) }), title: "Show these events" }, shown(one.value, { limit: 200 }))),
      bar(one.share, one.count, "here"),
      bar(one.other_share, one.other_count, "there"),
      h("td", { class: "acts" },
        button(`Only ${found.slice(0, 80)}`, icon("plus"), () => go({ q: withTerm(read().q, found) })),
        button(`Not ${found.slice(0, 80)}`, icon("minus"), () => go({ q: withTerm(read().q, found, true) }))),
    );
  }

  /** @param {Field[]} fields @param {State} state */
  #showFields(fields, state) {
    const total = fields.find((field) => field.name === "timestamp")?.count ?? 0;
    const listed = fields.filter((field) => field.name !== "timestamp");
    this.#all.replaceChildren(
      h("ul", {}, listed.slice(0, 300).map((field) => h("li", {},
        h("span", { class: "name" }, shown(field.name)),
        h("span", { class: "note", title: count(field.count) }, `${short(field.count)} · ${percent(total ? field.count / total : 0)}`),
        h("a", { class: "tab", href: address({ view: "explore", q: `${state.q || "*"} | top 20 ${term(field.name, "").slice(0, -3)}` }) }, "top values"),
        button(`Show or hide the column ${field.name}`, "column", () => toggleColumn(field.name), { class: "tab", "aria-pressed": String(state.columns.includes(field.name)) }),
      ))),
      listed.length > 300 ? h("p", { class: "note" }, `${count(listed.length - 300)} more; the box in Explore finds them`) : "",
    );
  }
}

/** The fields that a query asks about: it is no news that its events differ in them. @param {string} query */
const askedAbout = (query) => new Set(tokenize(split(query).filter).filter((token) => token.type === "field").map((token) => token.text.slice(0, -1)));

/** @param {number} share @param {number} n @param {string} kind */
function bar(share, n, kind) {
  const filled = h("span", { class: `fill ${kind}`, "aria-hidden": "true" });
  filled.style.width = `${share * 100}%`;
  return h("td", { class: "measure", title: plural(n, "event") }, filled, h("span", {}, percent(share)));
}

