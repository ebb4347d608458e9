// An event in full: every field with what can be done with it, its JSON, the lines around it, its trace.

import { ask, asApiError, Latest } from "./api.js";
import { copy } from "./copy.js";
import { button, h } from "./dom.js";
import { icon } from "./icons.js";
import { lacking } from "./lacking.js";
import { levelClass } from "./levels.js";
import { term, withTerm } from "./language.js";
import { address, go, read } from "./state.js";
import { shown } from "./text.js";
import { clock, full, rfc3339 } from "./time.js";

/** @import { Context, Found, LogEvent, State } from "./types" */

const FIELDS = /** @type {const} */ (["level", "service", "host", "fingerprint", "trace_id", "span_id"]);
const FILTERABLE = 1000; // characters: nobody asks for a longer value
const VALUE_SHOWN = 20_000;
const AROUND = 10;
const TAB_KEYS = /** @type {Record<string, string>} */ ({ F: "", J: "json", c: "around", T: "trace" });
const TRACE_MS = 3_600_000; // before and after

export class Details {
  #event;
  #state;
  #resized;
  #asking = new Latest();
  #around = AROUND;
  #panel = h("div", { class: "panel" });
  #tabs;
  element;

  /**
   * @param {LogEvent} event
   * @param {State} state
   * @param {() => void} resized called when it has become another height
   */
  constructor(event, state, resized) {
    this.#event = event;
    this.#state = state;
    this.#resized = resized;
    this.#tabs = this.#offered();
    this.element = h("div", { class: "details", role: "gridcell" }, this.#tools(), this.#panel);
    const named = state.open === event.id ? state.tab : "";
    this.#to(named in this.#tabs ? named : "");
  }

  /** What can be shown: its name in the address, its label, and how. @returns {Record<string, { label: string, show: () => void }>} */
  #offered() {
    return {
      "": { label: "Fields", show: () => this.#whole(() => this.#showFields()) },
      json: { label: "JSON", show: () => this.#whole(() => this.#showJson()) },
      around: { label: "Lines around", show: () => this.#showContext() },
      ...(this.#event.trace_id ? { trace: { label: "Trace", show: () => this.#showTrace() } } : {}),
    };
  }

  /** @param {string} tab */
  #to(tab) {
    for (const one of this.element.querySelectorAll("[data-tab]")) one.setAttribute("aria-pressed", String(one.getAttribute("data-tab") === tab));
    this.#tabs[tab]?.show();
  }

  /** As somebody asked. @param {string} tab */
  #turn(tab) {
    this.#to(tab);
    if (read().open === this.#event.id) go({ tab }, { replace: true });
  }

  /** A key while the event is looked at. @param {string} name */
  key(name) {
    const tab = TAB_KEYS[name];
    if (tab !== undefined && tab in this.#tabs) this.#turn(tab);
    else if (name === "y") copy(this.#event.message, "message");
    else return false;
    return true;
  }

  #tools() {
    const event = this.#event;
    return h(
      "div",
      { class: "tools", role: "group", "aria-label": "This event" },
      ...Object.entries(this.#tabs).map(([name, { label }]) => button(label, label, () => this.#turn(name), { class: "tab", "data-tab": name, "aria-pressed": "false" })),
      h("a", { href: address({ view: "explore", q: term("fingerprint", event.fingerprint), open: "" }), class: "tab" }, "Same pattern"),
      h("span", { class: "gap" }),
      button("Copy the message", "Copy", () => copy(event.message, "message"), { class: "tab" }),
      button("Copy a query that finds such events", "Copy as query", () => copy(queryOf(event), "query"), { class: "tab" }),
      button("Copy a link to this event", "Link", () => copy(new URL(linkTo(event), location.href).href, "link"), { class: "tab" }),
    );
  }

  /** @param {...(Node | string)} content */
  #show(...content) {
    this.#panel.replaceChildren(...content);
    if (this.element.isConnected) this.#resized();
  }

  // --- fields ------------------------------------------------------------------------------------------------

  /** Show what is there, and again once the tags are that the list had no use for. @param {() => void} show */
  async #whole(show) {
    show();
    if (!this.#event.lean) return;
    const signal = this.#asking.next();
    try {
      const { id } = this.#event;
      const found = /** @type {Context} */ (await ask("/api/v1/context", { id, before: 0, after: 0, namespace: this.#state.namespace }, signal));
      this.#event.tags = found.events[found.index]?.tags ?? this.#event.tags;
      delete this.#event.lean;
      show();
    } catch (error) {
      if (!signal.aborted) this.#panel.append(h("p", { class: "fault", role: "alert" }, shown(`no tags: ${asApiError(error).message}`)));
    }
  }

  #showFields() {
    const event = this.#event;
    const rows = [
      this.#field("timestamp", full(event.timestamp, this.#state.utc), false),
      ...FIELDS.filter((name) => event[name]).map((name) => this.#field(name, event[name], true)),
      ...Object.keys(event.tags).sort().map((name) => this.#field(name, event.tags[name] ?? "", true)),
      this.#field("tier", event.tier, false),
      this.#field("id", event.id, false),
    ];
    this.#show(this.#message(), h("dl", { class: "fields" }, rows.flat()));
  }

  /** The whole message; a very long one in steps. @param {number} [limit] */
  #message(limit = VALUE_SHOWN) {
    const { message } = this.#event;
    const made = h("div", { class: "whole", tabindex: "-1" }, shown(message, { lines: true, limit }));
    if (message.length > limit) {
      made.append(button("Show more of the message", "Show more", () => {
        made.replaceWith(this.#message(limit * 10));
        this.#resized();
      }));
    }
    return made;
  }

  /** @param {string} name @param {string} value @param {boolean} canFilter */
  #field(name, value, canFilter) {
    const asked = canFilter && value.length <= FILTERABLE && !value.includes("\ufffd");
    const found = () => term(name, value);
    const to = (/** @type {boolean} */ against) => go({ view: "explore", q: withTerm(read().q, found(), against), open: "" });
    return [
      h("dt", {}, shown(name)),
      h(
        "dd",
        {},
        h("span", { class: "acts" },
          asked && button(`Only events with this ${name}`, icon("plus"), () => to(false)),
          asked && button(`No events with this ${name}`, icon("minus"), () => to(true)),
          canFilter && button(`Show or hide the column ${name}`, icon("column"), () => toggleColumn(name)),
          button(`Copy ${name}`, icon("copy"), () => copy(value, name)),
          asked && button(`Copy ${name} as query`, icon("query"), () => copy(found(), "query")),
        ),
        h("span", { class: "value" }, shown(value, { lines: true, limit: VALUE_SHOWN })),
      ),
    ];
  }

  // --- JSON --------------------------------------------------------------------------------------------------

  #showJson() {
    const text = JSON.stringify({ ...this.#event, message: parsed(this.#event.message) }, null, 2);
    this.#show(
      h("div", { class: "tools" }, button("Copy the event as JSON", "Copy JSON", () => copy(JSON.stringify(this.#event, null, 2), "JSON"), { class: "tab" })),
      h("pre", { class: "json" }, shown(text, { lines: true, limit: VALUE_SHOWN * 5 })),
    );
  }

  // --- lines around ------------------------------------------------------------------------------------------

  async #showContext() {
    const { id, service, host } = this.#event;
    const here = [service || "no service", host || "no host"].join(" on ");
    await this.#answered(async (signal) => {
      const found = /** @type {Context} */ (await ask("/api/v1/context", { id, before: this.#around, after: this.#around, namespace: this.#state.namespace }, signal));
      const more = button("More lines around", `${this.#around} more each way`, () => {
        this.#around = Math.min(this.#around * 2, 200);
        this.#showContext();
      }, { class: "tab" });
      return [h("div", { class: "tools" }, h("span", {}, shown(`Lines around, of ${here}`)), ...lacking(found.stats), more), this.#lines(found.events)];
    });
  }

  async #showTrace() {
    const { trace_id: trace, timestamp } = this.#event;
    const at = Date.parse(timestamp);
    const [from, to] = [rfc3339(at - TRACE_MS), rfc3339(at + TRACE_MS)];
    await this.#answered(async (signal) => {
      const found = /** @type {Found} */ (await ask("/api/v1/search", { q: term("trace_id", trace), from, to, order: "oldest", limit: 500, namespace: this.#state.namespace }, signal));
      const link = h("a", { class: "tab", href: address({ view: "explore", q: term("trace_id", trace), from, to, order: "oldest", open: "" }) }, "Open in Explore");
      const n = found.events?.length ?? 0;
      return [h("div", { class: "tools" }, h("span", {}, `${n}${found.next_cursor ? "+" : ""} lines of the trace, within an hour of this one`), ...lacking(found.stats), link), this.#lines(found.events ?? [], true)];
    });
  }

  /** Lines as in a file. @param {LogEvent[]} events @param {boolean} [withService] */
  #lines(events, withService = false) {
    return h(
      "ol",
      { class: "lines" },
      events.map((event) => h(
        "li",
        { class: `${levelClass(event.level)}${event.id === this.#event.id ? " this" : ""}`, "aria-current": event.id === this.#event.id ? "true" : null },
        h("time", { title: full(event.timestamp, this.#state.utc) }, clock(event.timestamp, this.#state.utc)),
        withService && h("span", { class: "service" }, shown(event.service, { limit: 30 })),
        h("span", {}, shown(event.message, { limit: 2000 })),
      )),
    );
  }

  /** Show what is found, or what went wrong. @param {(signal: AbortSignal) => Promise<Node[]>} work */
  async #answered(work) {
    const signal = this.#asking.next();
    try {
      this.#show(...(await work(signal)));
    } catch (error) {
      if (signal.aborted) return;
      const said = asApiError(error);
      this.#show(h("p", { class: "fault", role: "alert" }, shown(said.message), said.hint ? " — " : "", shown(said.hint)));
    }
  }
}

/** A JSON object as what it is, any other text as it stands. @param {string} message */
function parsed(message) {
  if (!/^\s*[[{]/.test(message) || message.length > 1e6) return message;
  try {
    return JSON.parse(message);
  } catch {
    return message; // it only looked like JSON
  }
}

/** What finds events like one. @param {LogEvent} event */
function queryOf(event) {
  const parts = /** @type {const} */ (["service", "host", "fingerprint"]);
  return parts.filter((name) => event[name]).map((name) => term(name, event[name])).join(" ");
}

/** The address that shows an event, and those that came next. @param {LogEvent} event */
function linkTo(event) {
  const at = Date.parse(event.timestamp);
  return address({ view: "explore", from: rfc3339(at), to: rfc3339(at + 60_000), order: "oldest", open: event.id, tab: "" });
}

/** @param {string} name */
export function toggleColumn(name) {
  const { columns } = read();
  go({ columns: columns.includes(name) ? columns.filter((one) => one !== name) : [...columns, name] }, { replace: true });
}
