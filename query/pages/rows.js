// The list of events: rows, the one that is looked at, and those that are open. Explore and Live both have one.

import { Details } from "./details.js";
import { h } from "./dom.js";
import { icon } from "./icons.js";
import { levelClass } from "./levels.js";
import { sought } from "./language.js";
import { finder, shown } from "./text.js";
import { clock, full } from "./time.js";
import { VirtualList } from "./virtual.js";

/** @import { LogEvent, State } from "./types" */

const ROW = 22; // pixels of a row that is not wrapped; explore.css says the same
const SHOWN = 1000; // characters of a message in a row
const SHOWN_WRAPPED = 5000;
const COLUMNS = /** @type {const} */ (["level", "service", "host", "fingerprint", "trace_id", "span_id", "tier", "id"]);

/** The columns of the list that are tags: events are asked for with these alone. @param {State} state */
export function shownTags(state) {
  return state.columns.filter((name) => name !== "message" && !COLUMNS.some((one) => one === name));
}

/** The value of a field of an event; empty where it has none. @param {LogEvent} event @param {string} name */
export function valueOf(event, name) {
  const column = COLUMNS.find((one) => one === name);
  return column ? event[column] : name === "message" ? event.message : (Object.hasOwn(event.tags, name) ? (event.tags[name] ?? "") : "");
}

/**
 * @typedef {object} Wishes
 * @property {(event: LogEvent, open: boolean) => void} [opened]
 * @property {() => void} [reached] the end of the list is near
 * @property {(name: string) => void} dropColumn
 */

export class EventList {
  #head = h("div", { class: "head", role: "row" });
  #list;
  element = h("div", { class: "events", tabindex: "0", role: "treegrid", "aria-label": "Events" });
  /** @type {LogEvent[]} */
  events = [];
  /** @type {State | null} */
  #state = null;
  #wishes;
  #withDay = false;
  /** @type {RegExp | null} */
  #marked = null;
  current = -1;
  /** @type {Map<string, Details>} by the event's id */
  #open = new Map();

  /** @param {Wishes} wishes */
  constructor(wishes) {
    this.#wishes = wishes;
    this.element.append(this.#head);
    this.#list = new VirtualList(this.element, ROW, {
      make: (index) => this.#row(index),
      varies: (index) => Boolean(this.#state?.wrap || this.#state?.raw) || this.#open.has(this.events[index]?.id ?? ""),
      reached: (last) => last >= this.events.length - 40 && wishes.reached?.(),
    });
    this.element.addEventListener("click", (event) => this.#click(event));
    this.element.addEventListener("keydown", (event) => {
      if (event.target === this.element && this.key(event)) event.preventDefault();
    });
  }

  get list() {
    return this.#list;
  }

  /**
   * How rows look. Made anew where that has changed.
   * @param {State} state
   * @param {{ withDay: boolean, marked?: RegExp | null }} how
   */
  look(state, { withDay, marked }) {
    const looks = (/** @type {State | null} */ one) => one && JSON.stringify([one.wrap, one.raw, one.utc, one.columns, one.q]);
    const mark = marked === undefined ? finder(sought(state.q)) : marked;
    const same = looks(this.#state) === looks(state) && this.#withDay === withDay && String(mark) === String(this.#marked);
    this.#state = state;
    if (same) return;
    this.#withDay = withDay;
    this.#marked = mark;
    this.#layOut();
    this.#list.remake();
  }

  #layOut() {
    const state = this.#state;
    if (!state) return;
    const { classList, style } = this.element;
    classList.toggle("wrap", state.wrap);
    classList.toggle("raw", state.raw);
    const widths = { level: "8ch", service: "14ch", host: "14ch", fingerprint: "17ch" };
    const columns = state.columns.map((name) => widths[/** @type {keyof typeof widths} */ (name)] ?? "16ch");
    style.setProperty("--columns", [this.#withDay ? "19ch" : "13ch", "8ch", ...columns, "minmax(0, 1fr)"].join(" "));
    style.setProperty("--columns-narrow", [this.#withDay ? "14.5ch" : "8.5ch", "minmax(0, 1fr)"].join(" "));
    const cell = (/** @type {string} */ name, /** @type {string} */ kind, /** @type {string} */ behind = "") => h("span", { role: "columnheader", class: kind }, name, behind && h("span", { class: "zone" }, behind));
    this.#head.replaceChildren(
      cell("time", "time", state.utc ? " (UTC)" : ""),
      cell("level", "level"),
      ...state.columns.map((name) => {
        const made = cell("", "column");
        const drop = h("button", { type: "button", class: "plain", "aria-label": `Remove the column ${name}`, title: "Remove this column" }, icon("cross"));
        drop.addEventListener("click", () => this.#wishes.dropColumn(name));
        made.append(h("span", {}, shown(name)), drop);
        return made;
      }),
      cell("message", "message"),
    );
  }

  /** Other events. @param {LogEvent[]} events */
  set(events) {
    this.events = events;
    this.current = -1;
    this.#open.clear();
    this.element.setAttribute("aria-rowcount", String(events.length + 1));
    this.#list.reset(events.length);
  }

  /** More events behind. @param {LogEvent[]} events */
  append(events) {
    this.events = this.events.concat(events);
    this.element.setAttribute("aria-rowcount", String(this.events.length + 1));
    this.#list.grow(this.events.length);
  }

  /** More events behind, and of those before only so many are kept. @param {LogEvent[]} events @param {number} most */
  push(events, most) {
    const all = this.events.concat(events);
    const gone = Math.max(0, all.length - most);
    this.events = gone ? all.slice(gone) : all;
    this.current = Math.max(-1, this.current - gone);
    this.element.setAttribute("aria-rowcount", String(this.events.length + 1));
    if (gone) this.#list.shift(gone, this.events.length);
    else this.#list.grow(this.events.length);
  }

  // --- a row -------------------------------------------------------------------------------------------------

  /** @param {number} index */
  #row(index) {
    const event = /** @type {LogEvent} */ (this.events[index]);
    const state = /** @type {State} */ (this.#state);
    const details = this.#open.get(event.id);
    const cell = (/** @type {string} */ kind, /** @type {Node | string | (Node | string)[]} */ text, title = "") => h("span", { role: "gridcell", class: kind, title: title || null }, text);
    const limit = state.wrap || state.raw ? SHOWN_WRAPPED : SHOWN;
    const time = `${this.#withDay ? full(event.timestamp, state.utc, 0).slice(5, 11) : ""}${clock(event.timestamp, state.utc)}`;
    const row = h(
      "div",
      { role: "row", class: `row ${levelClass(event.level)}`, id: `row-${event.id}`, "aria-rowindex": index + 2, "aria-expanded": String(Boolean(details)), "data-index": index },
      cell("time", [time.slice(0, -4), h("span", { class: "ms" }, time.slice(-4))], full(event.timestamp, state.utc)),
      cell("level", shown(event.level, { limit: 12 })),
      ...state.columns.map((name) => cell("column", shown(valueOf(event, name), { limit: 200 }), `${name}: ${valueOf(event, name).slice(0, 200)}`)),
      cell("message", shown(event.message, { limit, lines: state.wrap || state.raw, marked: this.#marked })),
    );
    if (index === this.current) row.classList.add("current");
    if (details) row.append(details.element);
    return row;
  }

  /** @param {MouseEvent} event */
  #click(event) {
    const target = event.target instanceof Element ? event.target : null;
    if (!target || target.closest(".details, button, a") || getSelection()?.toString()) return;
    const row = target.closest(".row");
    if (!(row instanceof HTMLElement)) return;
    const index = Number(row.dataset["index"]);
    this.choose(index);
    this.toggle(index);
  }

  // --- the one that is looked at -----------------------------------------------------------------------------

  /** @param {number} index */
  choose(index) {
    const to = Math.max(0, Math.min(this.events.length - 1, index));
    this.#list.at(this.current)?.classList.remove("current");
    this.current = this.events.length ? to : -1;
    this.#list.reveal(to);
    const row = this.#list.at(to);
    row?.classList.add("current");
    if (row) this.element.setAttribute("aria-activedescendant", row.id);
  }

  /** Open or close a row. @param {number} index @param {boolean} [open] */
  toggle(index, open) {
    const event = this.events[index];
    const state = this.#state;
    if (!event || !state) return;
    const was = this.#open.has(event.id);
    if (open === was) return;
    if (was) this.#open.delete(event.id);
    else this.#open.set(event.id, new Details(event, state, () => this.#list.resized(this.events.indexOf(event))));
    this.#list.refresh(index);
    if (!was) this.#list.reveal(index);
    if (this.#list.at(index) && this.current === index) this.element.setAttribute("aria-activedescendant", `row-${event.id}`);
    this.#wishes.opened?.(event, !was);
  }

  /** A key, as in a list. True if it was one of ours. @param {KeyboardEvent} event */
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.events.length) return false;
    const page = this.#list.page;
    const steps = /** @type {Record<string, number>} */ ({ ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity });
    const step = steps[event.key];
    if (step !== undefined) this.choose(this.current + step);
    else if (this.current < 0) return false;
    else if (event.key === "Enter") this.toggle(this.current);
    else if (event.key === "ArrowRight") this.toggle(this.current, true);
    else if (event.key === "ArrowLeft") this.toggle(this.current, false);
    else return this.#open.get(this.events[this.current]?.id ?? "")?.key(event.key) ?? false;
    return true;
  }
}
