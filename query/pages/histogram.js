// Counts by time, stacked by a field; drag, or arrows and Enter, to go into a range.

import { h, s } from "./dom.js";
import { plural, short } from "./format.js";
import { term, withTerm } from "./language.js";
import { groupClass, stacked } from "./levels.js";
import { address, go, read } from "./state.js";
import { shown } from "./text.js";
import { clock, day, rfc3339, tick } from "./time.js";

/** @import { Bucket, Histogram, State } from "./types" */

/** @typedef {{ low: number, high: number, width: number, step: number }} Scale times in ms, width in pixels */

const HEIGHT = 72;
const AXIS = 16;
const MOST_GROUPS = 8;
const OTHER = "(other)"; // what the server calls the groups that are too many

export class HistogramView {
  #readout = h("output", { class: "readout", "aria-live": "polite" });
  #legend = h("ul", { class: "legend", "aria-label": "Colours" });
  #chart = h("div", { class: "chart", tabindex: "0", role: "group", "aria-label": "Counts by time. Left and right choose a bar, with shift a range, Enter goes into it." });
  element = h("section", { class: "histogram", "aria-label": "Histogram" }, this.#chart, h("div", { class: "under" }, this.#legend, this.#readout));
  /** @type {Scale | null} */
  #scale = null;
  /** @type {Histogram | null} */
  #now = null;
  /** @type {State | null} */
  #state = null;
  /** @type {[number, number] | null} the bars that are chosen */
  #chosen = null;
  #drag = -1;
  #noun = "";
  /** @type {[string, HTMLElement][]} the groups of the legend, and where their counts stand */
  #figures = [];
  #selection = s("rect", { class: "selection", y: "0", height: HEIGHT, hidden: true });

  constructor() {
    const chart = this.#chart;
    chart.addEventListener("pointerdown", (event) => this.#down(event));
    chart.addEventListener("pointermove", (event) => this.#move(event));
    chart.addEventListener("pointerup", () => this.#up());
    chart.addEventListener("pointercancel", () => this.#cancel());
    chart.addEventListener("pointerleave", () => this.#drag < 0 && this.#cancel());
    chart.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.#now && this.#state && this.show(this.#now, this.#state, this.#noun)).observe(chart);
  }

  clear() {
    this.#now = null;
    this.#chart.replaceChildren();
    this.#legend.replaceChildren();
    this.#readout.textContent = "";
  }

  /** `noun`: what is counted, where that is not events. @param {Histogram} found @param {State} state @param {string} [noun] */
  show(found, state, noun = "") {
    const kept = found === this.#now ? this.#chosen : null; // the same, in another width
    this.#now = found;
    this.#noun = noun;
    this.#state = state;
    this.#chosen = null;
    const first = found.buckets[0];
    const step = found.interval_ms;
    if (!first || !step) {
      this.clear();
      return;
    }
    const low = Date.parse(first.start);
    const width = Math.max(120, this.#chart.clientWidth);
    this.#scale = { low, high: low + step * found.buckets.length, width, step };
    const totals = totalsOf(found.buckets);
    const order = stacked(totals, state.by);
    this.#selection.setAttribute("hidden", "");
    this.#chart.replaceChildren(
      s("svg", { width: "100%", height: HEIGHT + AXIS, viewBox: `0 0 ${width} ${HEIGHT + AXIS}`, preserveAspectRatio: "none", "aria-hidden": "true" }, this.#bars(found, order, state.by), this.#axis(state), this.#selection),
    );
    this.#figures = order.slice(0, MOST_GROUPS).map((name) => [name, h("span", { class: "n" })]);
    this.#legend.replaceChildren(...this.#figures.map(([name, figure], i) => h("li", {}, this.#group(name, i, figure, order.length === 1))));
    if (kept) this.#choose(...kept);
    else this.#say();
  }

  /** A group of the legend; events can be asked for by it. @param {string} name @param {number} rank @param {HTMLElement} figure @param {boolean} isOnly */
  #group(name, rank, figure, isOnly) {
    const { by } = /** @type {State} */ (this.#state);
    const said = [h("span", { class: `swatch ${groupClass(name, by, rank)}` }), shown(name || (this.#noun && isOnly ? this.#noun : `no ${by}`), { limit: 30 }), figure];
    if (this.#noun || name === OTHER) return said;
    const [wanted, against] = name ? [term(by, name), false] : [`${term(by, "").slice(0, -2)}*`, true];
    return [h("a", { href: address({ q: withTerm(read().q, wanted, against), open: "" }), title: `Only ${name || `events without ${by}`}` }, said)];
  }

  /** @param {Histogram} found @param {string[]} order @param {string} by */
  #bars(found, order, by) {
    const { width } = /** @type {Scale} */ (this.#scale);
    const most = Math.max(1, ...found.buckets.map((bucket) => bucket.count));
    const wide = width / found.buckets.length;
    const made = s("g", {});
    /** @type {Map<string, string>} */
    const paths = new Map(order.map((name) => [name, ""]));
    found.buckets.forEach((bucket, i) => {
      let y = HEIGHT;
      const x = (i * wide).toFixed(1);
      const w = Math.max(1, wide - 1).toFixed(1);
      for (const name of order) {
        const n = bucket.groups && Object.hasOwn(bucket.groups, name) ? (bucket.groups[name] ?? 0) : 0;
        if (!n) continue;
        const tall = Math.max((n / most) * (HEIGHT - 14), 1);
        y -= tall;
        paths.set(name, `${paths.get(name)}M${x} ${y.toFixed(1)}h${w}v${tall.toFixed(1)}h-${w}z`);
      }
    });
    order.forEach((name, rank) => made.append(s("path", { d: paths.get(name), class: groupClass(name, by, rank) })));
    made.append(s("text", { x: 2, y: 10, class: "most" }, short(most)));
    return made;
  }

  /** @param {State} state */
  #axis(state) {
    const { low, high, width, step } = /** @type {Scale} */ (this.#scale);
    const made = s("g", { class: "axis" }, s("path", { d: `M0 ${HEIGHT}.5H${width}`, class: "line" }));
    const bars = Math.round((high - low) / step);
    const every = Math.max(1, Math.ceil(bars / Math.max(1, Math.floor(width / 110))));
    for (let i = every; i < bars - every / 3; i += every) {
      made.append(s("text", { x: (i / bars) * width, y: HEIGHT + 13, "text-anchor": "middle" }, tick(low + i * step, high - low, state.utc)));
    }
    return made;
  }

  // --- choosing ----------------------------------------------------------------------------------------------

  /** @param {PointerEvent} event */
  #barAt(event) {
    const bars = this.#now?.buckets.length ?? 0;
    const box = this.#chart.getBoundingClientRect();
    return Math.max(0, Math.min(bars - 1, Math.floor(((event.clientX - box.left) / box.width) * bars)));
  }

  /** @param {PointerEvent} event */
  #down(event) {
    if (event.button !== 0 || !this.#now) return;
    this.#chart.setPointerCapture(event.pointerId);
    this.#drag = this.#barAt(event);
    this.#choose(this.#drag, this.#drag);
  }

  /** @param {PointerEvent} event */
  #move(event) {
    if (!this.#now) return;
    const bar = this.#barAt(event);
    this.#choose(this.#drag < 0 ? bar : this.#drag, bar);
  }

  #up() {
    if (this.#drag < 0) return;
    this.#drag = -1;
    this.#zoom();
  }

  #cancel() {
    this.#drag = -1;
    this.#chosen = null;
    this.#selection.setAttribute("hidden", "");
    this.#say();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const bars = this.#now?.buckets.length ?? 0;
    if (!bars) return;
    const [from, to] = this.#chosen ?? [-1, -1];
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      event.preventDefault();
      const next = Math.max(0, Math.min(bars - 1, (this.#chosen ? to : event.key === "ArrowLeft" ? bars : -1) + (event.key === "ArrowLeft" ? -1 : 1)));
      this.#choose(event.shiftKey && this.#chosen ? from : next, next);
    } else if (event.key === "Enter" && this.#chosen) {
      event.preventDefault();
      this.#zoom();
    } else if (event.key === "Escape") this.#cancel();
  }

  /** @param {number} from @param {number} to */
  #choose(from, to) {
    const scale = this.#scale;
    if (!scale || !this.#now) return;
    this.#chosen = [from, to];
    const bars = this.#now.buckets.length;
    const [low, high] = from < to ? [from, to] : [to, from];
    this.#selection.setAttribute("x", String((low / bars) * scale.width));
    this.#selection.setAttribute("width", String(((high - low + 1) / bars) * scale.width));
    this.#selection.removeAttribute("hidden");
    this.#say();
  }

  #zoom() {
    const scale = this.#scale;
    if (!scale || !this.#chosen) return;
    const [from, to] = [Math.min(...this.#chosen), Math.max(...this.#chosen)];
    go({ from: rfc3339(scale.low + from * scale.step), to: rfc3339(scale.low + (to + 1) * scale.step), open: "" });
  }

  /** What the chosen bars hold, by group too; or all of them, and how long a bar is. */
  #say() {
    const scale = this.#scale;
    if (!scale || !this.#now || !this.#state) return;
    const [first, last] = this.#chosen ? [Math.min(...this.#chosen), Math.max(...this.#chosen)] : [0, this.#now.buckets.length - 1];
    const totals = totalsOf(this.#now.buckets.slice(first, last + 1));
    for (const [name, figure] of this.#figures) figure.textContent = short(totals[name] ?? 0);
    if (!this.#chosen) {
      this.#readout.textContent = `a bar is ${stepName(scale.step)}`;
      return;
    }
    const n = this.#now.buckets.slice(first, last + 1).reduce((sum, bucket) => sum + bucket.count, 0);
    const low = rfc3339(scale.low + first * scale.step);
    const high = rfc3339(scale.low + (last + 1) * scale.step);
    const digits = scale.step < 1000 ? 3 : 0;
    this.#readout.textContent = `${day(low, this.#state.utc)} ${clock(low, this.#state.utc, digits)} – ${clock(high, this.#state.utc, digits)} · ${this.#noun ? `${this.#noun} ${n.toLocaleString("en-US")}` : plural(n, "event")}`;
  }
}

/** @param {Bucket[]} buckets */
function totalsOf(buckets) {
  /** @type {Record<string, number>} */
  const totals = Object.create(null); // a group may be called as what every object has
  for (const bucket of buckets) {
    for (const [name, n] of Object.entries(bucket.groups ?? {})) totals[name] = (totals[name] ?? 0) + n;
  }
  return totals;
}

/** @param {number} ms */
function stepName(ms) {
  const units = /** @type {[number, string][]} */ ([[86_400_000, "d"], [3_600_000, "h"], [60_000, "m"], [1000, "s"], [1, "ms"]]);
  const [size, name] = units.find(([one]) => ms >= one && ms % one === 0) ?? [1, "ms"];
  return `${ms / size} ${name}`;
}
