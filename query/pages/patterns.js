// Patterns: every event of the query by the shape of its message, and what changed against another range.

import { ask, asApiError, asked, Latest } from "./api.js";
import { copy } from "./copy.js";
import { button, h } from "./dom.js";
import { count, percent, plural, short } from "./format.js";
import { lacking } from "./lacking.js";
import { icon } from "./icons.js";
import { term, withTerm } from "./language.js";
import { compareControls, compared } from "./ranges.js";
import { RowKeys } from "./rowkeys.js";
import { sparkline } from "./sparkline.js";
import { address, go, read } from "./state.js";
import { shown, templateNodes } from "./text.js";
import { full } from "./time.js";

/** @import { ApiError } from "./api.js" */
/** @import { Change, Changes, Pattern, Patterns, State, View } from "./types" */

const POINTS = 40;
const LIMIT = 200;
const MOST = 1000;
const KINDS = /** @type {const} */ (["new", "gone", "grown", "shrunk", "same"]);
const NEVER = "never";
const SERVICES = 4;

/** @implements {View} */
export class PatternsView {
  #bar = h("div", { class: "viewbar" });
  #summary = h("p", { class: "summary", role: "status", "aria-live": "polite" });
  #list = h("ol", { class: "patterns", tabindex: "0", "aria-label": "Patterns" });
  element = h("div", { class: "scroll" }, this.#bar, this.#summary, this.#list);
  #asking = new Latest();
  #fail;
  #asked = "";
  #keys = new RowKeys(this.#list, "li.pattern", "a.template");
  #limit = LIMIT;

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
    const question = JSON.stringify([asked(state), state.compare, state.compareFrom, state.compareTo, state.show, state.utc]);
    if (question === this.#asked && !fresh) return;
    if (question !== this.#asked) this.#limit = LIMIT;
    this.#asked = question;
    this.#controls(state, null);
    this.#ask(state);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    return this.#keys.key(event);
  }

  /** @param {State} state */
  async #ask(state) {
    const signal = this.#asking.next();
    this.element.classList.add("asking");
    const { from, to, compare } = compared(state);
    const range = { ...asked(state), from, to };
    try {
      if (state.show === NEVER && from) {
        this.#showPatterns(/** @type {Patterns} */ (await ask("/api/v1/patterns", { ...range, new_since: from, sparkline: POINTS, limit: this.#limit }, signal)), state);
      } else if (compare) {
        const change = KINDS.find((kind) => kind === state.show) ?? "";
        const found = /** @type {Changes} */ (await ask("/api/v1/patterns/compare", { ...range, ...compare, change, sparkline: POINTS, limit: this.#limit }, signal));
        this.#showChanges(found, state);
      } else {
        const found = /** @type {Patterns} */ (await ask("/api/v1/patterns", { ...range, sparkline: POINTS, limit: this.#limit }, signal));
        this.#showPatterns(found, state);
      }
      this.#fail(null);
    } catch (error) {
      if (signal.aborted) return;
      const said = asApiError(error);
      this.#fail(said);
      this.#summary.replaceChildren();
      this.#list.replaceChildren(h("li", { class: "nothing" }, said.position ? "There are no patterns of this; what is in the way is underlined." : shown(said.message)));
    } finally {
      if (!signal.aborted) this.element.classList.remove("asking");
    }
  }

  /** @param {State} state @param {Record<string, number> | null} counts */
  #controls(state, counts) {
    const chips = KINDS.map((kind) => button(
      `Only patterns that are ${kind}`,
      [kind, counts && h("span", { class: "n" }, ` ${count(counts[kind] ?? 0)}`)],
      () => go({ show: state.show === kind ? "" : kind }),
      { class: `chip ${kind}`, "aria-pressed": String(state.show === kind) },
    ));
    chips.push(button("Only patterns that the namespace never had before this range", "never before", () => go({ show: state.show === NEVER ? "" : NEVER }), { class: "chip new", "aria-pressed": String(state.show === NEVER) }));
    this.#bar.replaceChildren(...compareControls(state), ...(compared(state).compare ? [h("span", { class: "chips", role: "group", "aria-label": "Kinds of change" }, chips)] : []));
  }

  /** @param {Changes} found @param {State} state */
  #showChanges(found, state) {
    this.#controls(state, found.counts);
    this.#say(`${plural(found.total_events, "event")} against ${count(found.previous_total_events)}`, found.patterns.length, Object.values(found.counts).reduce((sum, n) => sum + n, 0), found.stats);
    this.#rows(found.patterns, state, found.patterns);
  }

  /** @param {Patterns} found @param {State} state */
  #showPatterns(found, state) {
    if (state.show === NEVER) {
      this.#say(plural(found.patterns.length, "pattern") + " never seen before", found.patterns.length, found.total_patterns, found.stats);
      this.#rows(found.patterns, state, null);
      return;
    }
    const note = state.from === "all" && state.compare !== "none" ? "; of all time there is nothing to compare with" : "";
    this.#say(plural(found.total_events, "event") + note, found.patterns.length, found.total_patterns, found.stats);
    this.#rows(found.patterns, state, null);
  }

  /** @param {string} events @param {number} have @param {number} all @param {import("./types").Stats} stats */
  #say(events, have, all, stats) {
    this.#summary.replaceChildren(
      h("strong", {}, events),
      h("span", { class: "cost" }, `${plural(all, "pattern")}${have < all ? `, ${count(have)} shown` : ""} · every event counted · ${Math.round(stats.elapsed_ms)} ms`),
      ...lacking(stats),
    );
  }

  /** @param {Pattern[]} patterns @param {State} state @param {Change[] | null} changes */
  #rows(patterns, state, changes) {
    const most = Math.max(1e-9, ...patterns.map((one) => one.share));
    if (!patterns.length) this.#list.replaceChildren(h("li", { class: "nothing" }, state.show === NEVER ? "Nothing here that was not seen before." : state.show ? `No pattern is ${state.show}.` : "No events."));
    else this.#list.replaceChildren(...patterns.map((one, i) => this.#row(one, state, most, changes?.[i] ?? null)));
    if (patterns.length < this.#limit || this.#limit >= MOST) return;
    const more = button("Show more patterns", "Show more", () => {
      this.#limit = MOST;
      this.#ask(read());
    });
    this.#list.append(h("li", { class: "nothing" }, more));
  }

  /** @param {Pattern} pattern @param {State} state @param {number} most @param {Change | null} change */
  #row(pattern, state, most, change) {
    const found = term("fingerprint", pattern.fingerprint);
    const to = (/** @type {boolean} */ against) => go({ q: withTerm(read().q, found, against) });
    const share = h("span", { class: "sharebar", "aria-hidden": "true" });
    share.style.width = `${(pattern.share / most) * 100}%`;
    const range = change?.change === "gone" ? compared(state).compare : null;
    const where = range ? { from: range.compare_from, to: range.compare_to } : {};
    const services = pattern.services.slice(0, SERVICES);
    const label = change ? `${count(change.previous_count)} before, ${count(pattern.count)} now` : plural(pattern.count, "event");
    return h(
      "li",
      { class: "pattern" },
      h("div", { class: "figures" },
        change ? h("span", { class: `badge ${change.change}` }, changeName(change)) : null,
        h("span", { class: "count", title: label }, change ? [h("span", { class: "note" }, `${short(change.previous_count)} → `), short(pattern.count)] : short(pattern.count)),
        h("span", { class: "share", title: "share of all events" }, share, h("span", {}, pattern.count ? percent(pattern.share) : "–")),
      ),
      sparkline(change?.previous_sparkline ?? [], pattern.sparkline ?? [], label),
      h("div", { class: "what" },
        h("a", { class: "template", href: address({ view: "explore", q: withTerm(state.q, found), ...where }), title: "Show these events" }, pattern.name ? h("b", {}, shown(pattern.name), " ") : null, templateNodes(pattern.template)),
        h("div", { class: "sample", title: pattern.sample.slice(0, 1000) }, shown(pattern.sample, { limit: 400 })),
        h("div", { class: "more-of" },
          ...services.map((name) => h("a", { class: "chip", href: address({ q: withTerm(state.q, term("service", name)) }) }, shown(name, { limit: 40 }))),
          pattern.services.length > SERVICES ? h("span", { class: "note" }, `+${pattern.services.length - SERVICES}`) : null,
          h("span", { class: "note" }, seen(pattern, state.utc)),
          h("span", { class: "gap" }),
          h("span", { class: "acts" },
            button("Only this pattern", icon("plus"), () => to(false)),
            button("All but this pattern", icon("minus"), () => to(true)),
            button("Copy as query", icon("query"), () => copy(found, "query"))),
        ),
      ),
    );
  }
}

/** When a pattern was first and last seen, in the range. @param {Pattern} pattern @param {boolean} utc */
function seen({ first_seen: first, last_seen: last }, utc) {
  const [from, to] = [full(first, utc, 0), full(last, utc, 0)];
  return from === to ? `at ${from}` : `first ${from}, last ${from.slice(0, 10) === to.slice(0, 10) ? to.slice(11) : to}`;
}

/** @param {Change} change */
function changeName(change) {
  if (change.change === "new" || change.change === "gone") return change.change;
  const times = change.previous_count ? change.count / change.previous_count : 0;
  const said = times >= 10 ? `×${Math.round(times)}` : times >= 1 ? `×${times.toFixed(1)}` : `÷${(1 / times).toFixed(1)}`;
  return change.change === "same" ? "same" : said;
}
