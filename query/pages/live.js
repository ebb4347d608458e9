// Live: what arrives, as it arrives. Paused, it goes on counting, and keeps the last of it.

import { ask, asApiError, errorOf, Latest, urlOf } from "./api.js";
import { toggleColumn } from "./details.js";
import { button, h, onceAFrame } from "./dom.js";
import { count, plural } from "./format.js";
import { icon } from "./icons.js";
import { sought, split } from "./language.js";
import { EventList } from "./rows.js";
import { go } from "./state.js";
import { finder, shown } from "./text.js";

/** @import { ApiError } from "./api.js" */
/** @import { Found, LogEvent, State, View } from "./types" */

const KEPT = 5000; // events on the page, and as many that wait while it is paused
const EARLIER = 50; // events from before, so that one sees at once what to expect
const SPOOLED = "spooled"; // the cursor that asks for what is not stored yet, and so is in no search
const RATE_MS = 5000;
const TICK_MS = 500;

/** @implements {View} */
export class Live {
  #status = h("span", { class: "status", role: "status", "aria-live": "polite" });
  #rate = h("span", { class: "rate" });
  #pause = button("Pause or go on (p)", "Pause", () => this.#setPaused(!this.#paused), { class: "tab", "aria-pressed": "false" });
  #mark = h("input", { type: "search", "aria-label": "Highlight", placeholder: "Highlight", autocomplete: "off", spellcheck: "false" });
  #newest = button("To the newest, and on with it", "↓ newest", () => this.#list.list.scrollToEnd(), { class: "tab", hidden: true });
  #gaps = h("ul", { class: "gaps", "aria-label": "Gaps", role: "log" });
  #empty = h("p", { class: "note" }, "Nothing of this in the last 15 minutes. What arrives is shown here.");
  #list = new EventList({ dropColumn: toggleColumn });
  element = h(
    "div",
    { class: "explore live" },
    h("div", { class: "found" }, h("div", { class: "viewbar" }, this.#pause, button("Forget what is shown", "Clear", () => this.#clear(), { class: "tab" }), this.#mark, h("span", { class: "gap" }), this.#newest, this.#rate, this.#status), this.#gaps, this.#empty, this.#list.element),
  );
  #fail;
  /** @type {EventSource | null} */
  #source = null;
  #asked = "";
  #paused = false;
  /** @type {LogEvent[]} that are not shown yet */
  #waiting = [];
  #missed = 0; // let go of while paused
  #asking = new Latest();
  /** @type {Set<string>} ids that are shown already, while the stream may tell them again */
  #known = new Set();
  #seen = 0;
  /** @type {[number, number][]} when, and how many had been seen */
  #marks = [];
  #timer = 0;
  #show = onceAFrame(() => this.#flush());

  /** @param {(error: ApiError | null) => void} fail */
  constructor(fail) {
    this.#fail = fail;
    this.#mark.addEventListener("input", () => go({ mark: this.#mark.value }, { replace: true }));
    this.#list.element.addEventListener("scroll", () => {
      this.#newest.hidden = this.#list.list.isAtEnd;
    }, { passive: true });
  }

  leave() {
    this.#source?.close();
    this.#source = null;
    this.#asking.stop();
    this.#asked = "";
    clearInterval(this.#timer);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.key === "p") {
      this.#setPaused(!this.#paused);
      return true;
    }
    const taken = this.#list.key(event);
    if (taken && !this.#paused) this.#setPaused(true);
    return taken;
  }

  /** @param {State} state @param {boolean} fresh */
  show(state, fresh) {
    if (this.#mark.value !== state.mark) this.#mark.value = state.mark;
    this.#list.look(state, { withDay: false, marked: finder([...sought(state.q), state.mark]) });
    const question = JSON.stringify([state.q, state.namespace]);
    if (question === this.#asked && !fresh) return;
    this.#asked = question;
    this.#clear();
    this.#watch(state);
  }

  /** @param {State} state */
  #watch(state) {
    this.#source?.close();
    clearInterval(this.#timer);
    const { filter, pipes } = split(state.q);
    const url = urlOf("/api/v1/tail", { q: filter, namespace: state.namespace, cursor: SPOOLED });
    let isBegun = false;
    const source = (this.#source = new EventSource(url));
    this.#say(pipes ? "connecting; pipes are left out…" : "connecting…");
    source.addEventListener("open", () => {
      this.#fail(null);
      this.#say(pipes ? "live, without the pipes" : "live");
      if (!isBegun) this.#showEarlier(filter, state);
      isBegun = true;
    });
    source.addEventListener("log", (event) => this.#heard(JSON.parse(event.data)));
    source.addEventListener("gap", (event) => this.#gap(JSON.parse(event.data)));
    source.addEventListener("error", () => {
      if (source !== this.#source) return;
      if (source.readyState === EventSource.CLOSED) this.#refused(url);
      else this.#say("the connection was lost; connecting again…");
    });
    this.#marks = [[performance.now(), this.#seen]];
    this.#timer = window.setInterval(() => this.#tick(), TICK_MS);
  }

  /** The last events before; asked for once the stream is there, so that nothing is between. @param {string} filter @param {State} state */
  async #showEarlier(filter, state) {
    const signal = this.#asking.next();
    try {
      const asked = { q: filter, namespace: state.namespace, from: "now-15m", limit: EARLIER };
      const found = /** @type {Found} */ (await ask("/api/v1/search", asked, signal));
      const shown = new Set([...this.#list.events, ...this.#waiting].map((event) => event.id));
      const earlier = (found.events ?? []).filter((event) => !shown.has(event.id)).reverse();
      this.#known = new Set(earlier.map((event) => event.id));
      const all = [...earlier, ...this.#list.events, ...this.#waiting]; // what was told first may be older
      this.#waiting = all.sort((a, b) => (a.timestamp < b.timestamp ? -1 : Number(a.timestamp > b.timestamp)));
      this.#list.set([]);
      this.#flush(true);
      this.#empty.hidden = this.#list.events.length > 0;
    } catch (error) {
      if (!signal.aborted) this.#say(`live; what was before could not be fetched: ${asApiError(error).message}`);
    }
  }

  /** An EventSource does not say why it was refused: the same question does. @param {string} url */
  async #refused(url) {
    this.#say("not connected");
    const given = new AbortController();
    try {
      const answer = await fetch(url, { signal: given.signal });
      if (!answer.ok) this.#fail(await errorOf(answer));
    } catch {
      this.#say("cannot reach the server; search to try again");
    } finally {
      given.abort();
    }
  }

  /** @param {LogEvent} event */
  #heard(event) {
    if (this.#known.has(event.id)) return;
    this.#seen += 1;
    this.#waiting.push(event);
    if (this.#waiting.length > 2 * KEPT) {
      this.#missed += this.#waiting.length - KEPT;
      this.#waiting = this.#waiting.slice(-KEPT);
    }
    if (!this.#paused) this.#show();
  }

  /** @param {{ skipped: number | null, reason: string }} gap */
  #gap({ skipped, reason }) {
    const n = skipped === null ? "an unknown number of events" : plural(skipped, "event");
    const drop = button("Forget this gap", icon("cross"), () => drop.closest("li")?.remove(), { class: "plain" });
    this.#gaps.prepend(h("li", {}, h("strong", {}, `${n} left out`), " — ", shown(reason), " ", h("time", {}, new Date().toLocaleTimeString()), drop));
    while (this.#gaps.childElementCount > 5) this.#gaps.lastElementChild?.remove();
  }

  /** @param {boolean} [isFirst] also where it is paused already */
  #flush(isFirst = false) {
    if ((this.#paused && !isFirst) || !this.#waiting.length) return;
    const following = this.#list.list.isAtEnd;
    this.#list.push(this.#waiting.splice(0), KEPT);
    if (following) this.#list.list.scrollToEnd();
    this.#empty.hidden = true;
  }

  #tick() {
    const now = performance.now();
    this.#marks.push([now, this.#seen]);
    while ((this.#marks[0]?.[0] ?? now) < now - RATE_MS && this.#marks.length > 2) this.#marks.shift();
    const [then, seen] = this.#marks[0] ?? [now, this.#seen];
    const rate = now > then ? ((this.#seen - seen) / (now - then)) * 1000 : 0;
    this.#rate.textContent = `${rate >= 10 ? count(Math.round(rate)) : rate.toFixed(1)} events/s · ${plural(this.#seen, "event")}`;
    if (this.#paused) this.#pause.textContent = `Go on (${count(this.#waiting.length + this.#missed)})`;
  }

  /** @param {boolean} paused */
  #setPaused(paused) {
    this.#paused = paused;
    this.#pause.setAttribute("aria-pressed", String(paused));
    this.#pause.textContent = paused ? `Go on (${count(this.#waiting.length)})` : "Pause";
    if (paused) return;
    if (this.#missed) this.#gap({ skipped: this.#missed, reason: "more came while the page was paused than it keeps" });
    this.#missed = 0;
    this.#flush();
    this.#list.list.scrollToEnd();
  }

  #clear() {
    this.#asking.stop();
    this.#waiting = [];
    this.#empty.hidden = true;
    this.#known.clear();
    this.#missed = this.#seen = 0;
    this.#marks = [];
    this.#gaps.replaceChildren();
    this.#list.set([]);
  }

  /** @param {string} text */
  #say(text) {
    this.#status.textContent = text;
    this.element.classList.toggle("connected", text.startsWith("live"));
  }
}
