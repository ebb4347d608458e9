// Explore: what a query finds, newest first, with its histogram and its fields.

import { ask, asApiError, asked, isAbort, Latest } from "./api.js";
import { toggleColumn } from "./details.js";
import { button, h } from "./dom.js";
import { Export } from "./exports.js";
import { Facets } from "./facets.js";
import { bytes, count, plural, short } from "./format.js";
import { lacking } from "./lacking.js";
import { HistogramView } from "./histogram.js";
import { leavesEvents } from "./language.js";
import { EventList, shownTags } from "./rows.js";
import { address, go, read } from "./state.js";
import { harmless } from "./steering.js";
import { tableOf } from "./table.js";
import { shown } from "./text.js";
import { moment } from "./time.js";
import { pictureOf } from "./timetable.js";

/** @import { ApiError } from "./api.js" */
/** @import { Found, Histogram, LogEvent, State, Stats, View } from "./types" */

const FIRST = 200; // events of the first page; more come while one scrolls
const PAGE = 1000;
const MOST = 10_000;
const BEHIND_MS = 250; // after which the histogram no longer waits for the events
const BARS = 100;
const SHOWN = "results"; // the mark in the browser's trace, for bench/page.py
const DAY_MS = 72_000_000;
const GROUPS = ["level", "service", "host"]; // that are offered; and what is a column

/** @implements {View} */
export class Explore {
  #histogram = new HistogramView();
  #facets = new Facets();
  #export = new Export();
  #summary = h("p", { class: "summary", role: "status", "aria-live": "polite" });
  #bar = h("div", { class: "toolbar" });
  #place = h("div", { class: "place" });
  #list;
  element = h("div", { class: "explore" }, this.#facets.element, h("div", { class: "found" }, this.#histogram.element, h("div", { class: "over" }, this.#summary, this.#bar), this.#place));
  #fail;
  #asking = new Latest();
  #asked = "";
  /** @type {string | null | undefined} */
  #cursor = null;
  #more = false;
  /** @type {number | null} by the histogram */
  #total = null;
  #counted = true; // is that all of them?
  /** @type {Stats | null} */
  #stats = null;
  /** @type {Set<string>} what one of the answers is not complete for */
  #lacks = new Set();
  /** @type {number | null} */
  #rows = null;
  /** @type {LogEvent[]} */
  #events = [];

  /** @param {(error: ApiError | null) => void} fail told what is wrong with the query */
  constructor(fail) {
    this.#fail = fail;
    this.#list = new EventList({
      reached: () => this.#next(),
      dropColumn: toggleColumn,
      opened: (event, open) => {
        if (!open) go({ open: "", tab: "" }, { replace: true });
        else if (read().open !== event.id) go({ open: event.id, tab: "" }, { replace: true });
      },
    });
  }

  leave() {
    this.#asking.stop();
    this.#facets.stop();
    this.#asked = "";
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    return this.#list.key(event);
  }

  /** @param {State} state @param {boolean} fresh */
  show(state, fresh) {
    const side = state.side && leavesEvents(state.q);
    this.element.classList.toggle("with-side", side);
    this.#facets.element.hidden = !side;
    this.#tools(state);
    const [low, high] = [moment(state.from, state.utc), moment(state.to, state.utc) ?? Date.now()];
    this.#list.look(state, { withDay: low === null || high - low > DAY_MS });
    const question = JSON.stringify([asked(state), state.order, shownTags(state)]);
    if (question !== this.#asked || fresh) {
      this.#asked = question;
      this.#ask(state);
    } else if (side && this.#sideOf !== question) this.#showSide(state);
    if (this.#byOf !== state.by && this.#stats) this.#count(state, this.#signal);
  }

  #sideOf = "";
  #byOf = "";
  /** @type {AbortSignal} */
  #signal = new AbortController().signal;

  /** @param {State} state */
  async #ask(state) {
    const signal = (this.#signal = this.#asking.next());
    const pictured = leavesEvents(state.q);
    this.element.classList.add("asking");
    this.#histogram.element.hidden = !pictured;
    this.#total = this.#rows = null;
    this.#lacks.clear();
    this.#byOf = state.by;
    performance.clearMarks(SHOWN);
    this.#export.show(state);
    let behind = !pictured;
    const others = () => {
      if (behind || signal.aborted) return;
      behind = true;
      this.#count(state, signal);
      if (state.side) this.#showSide(state);
    };
    const timer = setTimeout(others, BEHIND_MS);
    try {
      const found = /** @type {Found} */ (await ask("/api/v1/search", { ...asked(state), order: state.order, ...(pictured ? lean(state, FIRST) : {}) }, signal));
      this.#fail(null);
      this.#stats = found.stats;
      this.#note(found.stats);
      if (found.events) this.#showEvents(found, state);
      else this.#showTable(found, state);
      performance.mark(SHOWN);
      others();
    } catch (error) {
      if (isAbort(error)) return;
      this.#failed(asApiError(error));
    } finally {
      clearTimeout(timer);
      if (!signal.aborted) this.element.classList.remove("asking");
    }
  }

  /** @param {ApiError} error */
  #failed(error) {
    this.#fail(error);
    this.#events = [];
    this.#stats = null;
    this.#histogram.element.hidden = true;
    this.#summary.replaceChildren();
    const what = error.position ? "The query cannot be read; what is wrong is underlined." : error.message;
    const hint = error.position ? null : h("p", {}, shown(error.hint, { lines: true }));
    this.#place.replaceChildren(h("div", { class: "nothing" }, h("p", {}, shown(what)), hint));
  }

  // --- events ------------------------------------------------------------------------------------------------

  /** @param {Found} found @param {State} state */
  #showEvents(found, state) {
    this.#events = marked(found.events);
    this.#cursor = found.next_cursor;
    this.#more = false;
    if (this.#events.length) {
      if (this.#place.firstChild !== this.#list.element) this.#place.replaceChildren(this.#list.element);
      this.#list.set(this.#events);
      this.#openOf(read()); // also one that was opened while this was asked
    } else this.#place.replaceChildren(nothing(state));
    this.#say();
  }

  /** Open the event that the address names. @param {State} state */
  #openOf(state) {
    const at = state.open ? this.#events.findIndex((event) => event.id === state.open) : -1;
    if (at < 0) return;
    this.#list.choose(at);
    this.#list.toggle(at, true);
  }

  /** The next page. */
  async #next() {
    if (!this.#cursor || this.#more || this.#list.events.length >= MOST) return;
    this.#more = true;
    const signal = this.#signal;
    const state = read();
    const limit = Math.min(PAGE, MOST - this.#list.events.length);
    try {
      const found = /** @type {Found} */ (await ask("/api/v1/search", { ...asked(state), order: state.order, ...lean(state, limit), cursor: this.#cursor }, signal));
      this.#cursor = found.next_cursor;
      this.#note(found.stats);
      this.#list.append(marked(found.events));
      this.#say();
    } catch (error) {
      if (!signal.aborted) this.#summary.replaceChildren(h("strong", { class: "fault" }, `no more came: ${asApiError(error).message}`));
      this.#cursor = signal.aborted ? this.#cursor : null;
    } finally {
      this.#more = false;
    }
  }

  // --- the rest ----------------------------------------------------------------------------------------------

  /** @param {State} state @param {AbortSignal} signal */
  async #count(state, signal) {
    this.#byOf = state.by;
    try {
      const found = /** @type {Histogram} */ (await ask("/api/v1/histogram", { ...asked(state), buckets: BARS, by: state.by }, signal));
      if (this.#byOf !== state.by) return; // other colours were asked for meanwhile
      this.#total = found.buckets.reduce((sum, bucket) => sum + bucket.count, 0);
      this.#counted = found.stats.complete;
      this.#note(found.stats);
      this.#histogram.element.hidden = this.#total === 0;
      this.#histogram.show(found, state);
      this.#say();
    } catch (error) {
      if (!signal.aborted) this.#histogram.clear();
      if (!signal.aborted) this.#summary.append(h("span", { class: "fault" }, ` · no histogram: ${asApiError(error).message}`));
    }
  }

  /** @param {State} state */
  #showSide(state) {
    this.#sideOf = this.#asked;
    this.#facets.show(state);
  }

  /** @param {Found} found @param {State} state */
  #showTable(found, state) {
    this.#events = [];
    this.#rows = found.rows?.length ?? 0;
    this.#place.replaceChildren(tableOf(found, state));
    const picture = pictureOf(found);
    this.#histogram.element.hidden = !picture;
    if (picture) this.#histogram.show(picture.histogram, { ...state, by: picture.by }, picture.noun);
    this.#say();
  }

  /** Each answer may lack something of its own. @param {Stats} stats */
  #note(stats) {
    for (const limit of stats.complete ? [] : stats.limits_hit) this.#lacks.add(limit);
  }

  /** How many, how long it took, and whether that is all. */
  #say() {
    const stats = this.#stats;
    if (!stats) return;
    const have = this.#list.events.length;
    const found = this.#rows !== null ? plural(this.#rows, "row") : this.#total !== null ? `${this.#counted ? "" : "at least "}${plural(this.#total, "event")}` : this.#events.length ? `${count(have)}${this.#cursor ? "+" : ""} events` : "nothing";
    const read = stats.rows_read === null ? "" : ` · ${short(stats.rows_read)} rows, ${bytes(stats.bytes_read ?? 0)} read`;
    const cost = `${Math.round(stats.elapsed_ms)} ms${read} · ${stats.tiers.join(" and ")}`;
    this.#summary.replaceChildren(
      h("strong", {}, found),
      h("span", { class: "cost" }, cost),
      ...lacking({ complete: !this.#lacks.size, limits_hit: [...this.#lacks] }, "; narrow the range"),
    );
  }

  /** @param {State} state */
  #tools(state) {
    const flip = (/** @type {"wrap" | "raw" | "side"} */ name, /** @type {string} */ label, /** @type {string} */ title) => button(title, label, () => go({ [name]: !state[name] }, { replace: true }), { class: "tab", "aria-pressed": String(state[name]), "data-flip": name });
    const order = button("Order: newest or oldest first", state.order === "newest" ? "Newest first" : "Oldest first", () => go({ order: state.order === "newest" ? "oldest" : "newest" }), { class: "tab" });
    const by = h("select", { "aria-label": "Colours of the histogram", title: "Colours of the histogram" }, [...new Set([...GROUPS, ...state.columns, state.by])].map((name) => h("option", { value: name, selected: name === state.by }, `by ${harmless(name)}`)));
    by.addEventListener("change", () => go({ by: by.value }, { replace: true }));
    const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset["flip"] : undefined;
    if (!leavesEvents(state.q)) {
      this.#bar.replaceChildren(this.#export.element);
      return;
    }
    this.#bar.replaceChildren(flip("side", "Fields", "Show the fields (s)"), by, order, flip("wrap", "Wrap", "Wrap long lines (w)"), flip("raw", "Raw", "Messages alone (r)"), this.#export.element, h("a", { class: "tab", href: address({ view: "alerts", show: "new" }), title: "An alert on this query" }, "Alert"));
    if (focused) /** @type {HTMLElement | null} */ (this.#bar.querySelector(`[data-flip="${focused}"]`))?.focus();
  }
}

/** So many events, with the tags that are columns: each other has to be read where its event lies. @param {State} state @param {number} limit */
const lean = (state, limit) => ({ limit, tags: shownTags(state).join(",") || "," }); // an empty one would be left out

/** Events that lack tags, which are fetched when one is opened. @param {LogEvent[] | undefined} events */
const marked = (events) => (events ?? []).map((event) => ({ ...event, lean: true }));

// How others write what is `name:value` here.
const AS_FIELD = /(?<!\S)([A-Za-z_][\w.@-]*)=([\w.@*-]+)(?!\S)/;

/** What to do where nothing was found. @param {State} state */
function nothing(state) {
  if (state.from === "all" && !state.q) {
    const send = `curl --data-binary @events.ndjson '${location.origin}/api/v1/ingest?service=shop${state.namespace ? `&namespace=${encodeURIComponent(state.namespace)}` : ""}'`;
    return h("div", { class: "nothing" }, h("p", {}, "Nothing has come in yet. Send some lines, as"), h("pre", {}, `neve ship '/var/log/**/*.log*' --to ${location.origin}\n${send}`), h("p", {}, h("a", { href: address({ view: "live" }) }, "see them arrive")));
  }
  const wider = state.from === "all" ? null : h("a", { href: address({ from: "all", to: "" }) }, "look at all time");
  const less = state.q ? h("a", { href: address({ q: "" }) }, "ask for every event") : null;
  const [written, name, value] = AS_FIELD.exec(state.q) ?? [];
  const meant = written ? h("p", {}, h("code", {}, written), " is looked for in messages: ", h("a", { href: address({ q: state.q.replace(written, `${name}:${value}`) }) }, `ask for the field, ${name}:${value}`)) : null;
  return h("div", { class: "nothing" }, h("p", {}, "Nothing found."), meant, h("p", {}, wider, wider && less ? " or " : "", less));
}
