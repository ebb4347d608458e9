// Health: what comes in, what waits, what is kept where and for how long.

import { ask } from "./api.js";
import { h } from "./dom.js";
import { bytes, count, duration, plural, short } from "./format.js";
import { Polled } from "./polled.js";
import { sparkline } from "./sparkline.js";
import { shown } from "./text.js";
import { ago, full } from "./time.js";

/** @import { State, View } from "./types" */

const EVERY_MS = 3000;
const POINTS = 60;

/**
 * @typedef {{ lag_seconds: number, inserting: boolean, dead_letters: number, uptime_seconds: number, version: string, spool: { depth: number, bytes: number, quota_bytes: number, full: string, reasons: Record<string, number> }, disk: { free_bytes: number, total_bytes: number }, troubles: Record<string, unknown>, counters: Record<string, number>, shards?: { shard: string, alive: boolean }[] }} Gateway
 * @typedef {{ namespace: string, events: number, bytes: number, parts: number }} Size
 * @typedef {{ namespace: string, epoch: number, state: string, opened_at: string, events: number }} Epoch
 * @typedef {{ clickhouse: { version: string }, namespaces: Size[], epochs: Epoch[] }} Storage
 * @typedef {{ tier: string, age_after_hours: number, keep_days: number, services: Record<string, number> }} Policy
 * @typedef {{ namespaces: { namespace: string, events: number, bytes: number }[], policies?: Record<string, Policy>, troubles: Record<string, string>, counters: Record<string, number> }} Cold
 */

/** @implements {View} */
export class Health {
  #verdict = h("p", { class: "verdict unknown", role: "status", "aria-live": "polite" }, "Asking…");
  #cards = h("div", { class: "cards" });
  #namespaces = h("div", { class: "table", tabindex: "0", role: "region", "aria-label": "Namespaces" });
  #troubles = h("ul", { class: "troubles", "aria-label": "What stands in the way" });
  element = h("div", { class: "scroll health" }, this.#verdict, this.#troubles, this.#cards, h("h2", {}, "Namespaces"), this.#namespaces);
  #gatewayPart = /** @type {Polled<Gateway>} */ (this.#polled("/gateway/status"));
  #storagePart = /** @type {Polled<Storage>} */ (this.#polled("/gateway/storage"));
  #coldPart = /** @type {Polled<Cold>} */ (this.#polled("/cold/status"));
  #parts = [this.#gatewayPart, this.#storagePart, this.#coldPart];
  #timer = 0;
  /** @type {{ at: number, lines: number, of: Gateway } | null} the last look, and of which answer */
  #before = null;
  /** @type {number[]} events a second */
  #rates = [];
  /** @type {Map<string, { at: number, events: number, rate: number | null, of: Storage }>} by namespace */
  #stored = new Map();
  #utc = false;

  /** @param {string} path @returns {Polled<any>} */
  #polled(path) {
    return new Polled((signal) => ask(path, {}, signal), () => this.#draw());
  }

  /** @param {State} state */
  show(state) {
    this.#utc = state.utc;
    clearInterval(this.#timer);
    this.#timer = window.setInterval(() => this.#ask(), EVERY_MS);
    this.#ask();
  }

  leave() {
    clearInterval(this.#timer);
    for (const part of this.#parts) part.stop();
    this.#before = null;
    this.#stored.clear();
  }

  #ask() {
    if (this.#parts.some((part) => part.trouble)) this.#draw();
    for (const part of this.#parts) part.ask();
  }

  /** Show what is known, once all have answered, or at least for so long. */
  #draw() {
    if (this.#parts.some((part) => part.isAsking && !part.trouble)) return;
    const [gateway, storage, cold] = [this.#gatewayPart, this.#storagePart, this.#coldPart];
    const faults = [["gateway", gateway.trouble], ["storage", storage.trouble], ["cold tier", cold.trouble]].flatMap(([name, text]) => (text ? [`${name}: ${text}`] : []));
    const refused = this.#parts.find((part) => part.fault?.status === 403)?.fault?.message ?? "";
    this.#show(gateway.fault ? null : gateway.value, storage.fault ? null : storage.value, cold.fault ? null : cold.value, faults, refused);
  }

  /** `refused`: why nothing may be seen. @param {Gateway | null} gateway @param {Storage | null} storage @param {Cold | null} cold @param {string[]} faults @param {string} refused */
  #show(gateway, storage, cold, faults, refused) {
    if (!gateway && !storage && !cold && refused) {
      this.#verdict.textContent = "How the server is, those who look after it may see";
      this.#verdict.className = "verdict unknown";
      this.#troubles.replaceChildren(h("li", {}, shown(refused)));
      clearInterval(this.#timer);
      return;
    }
    const troubles = [...faults, ...said(gateway?.troubles), ...said(cold?.troubles)];
    if (gateway?.spool.full) troubles.push(`the spool takes nothing more: ${gateway.spool.full}`);
    if (gateway?.dead_letters) troubles.push(`${plural(gateway.dead_letters, "block")} refused: neve deadletter list`);
    const well = gateway?.inserting && !troubles.length;
    this.#verdict.textContent = well ? "All is well" : gateway && !gateway.inserting ? "Nothing is stored now; what comes in waits in the spool" : "Something needs looking at";
    this.#verdict.className = `verdict ${well ? "well" : "ill"}`;
    this.#troubles.replaceChildren(...troubles.map((text) => h("li", { class: "fault" }, shown(text))));
    if (gateway) this.#cards.replaceChildren(...this.#gateway(gateway), ...(storage ? [card("ClickHouse", storage.clickhouse.version, `${plural(storage.epochs.length, "epoch")} here`)] : []), ...(cold ? [card("Aged so far", `${short(cold.counters["events_aged"] ?? 0)} events`, `${plural(cold.counters["epochs_aged"] ?? 0, "epoch")} since the start`)] : []));
    if (storage) this.#namespaces.replaceChildren(this.#table(storage, cold));
  }

  /** @param {Gateway} gateway */
  #gateway(gateway) {
    const now = { at: performance.now(), lines: gateway.counters["lines_received"] ?? 0, of: gateway };
    if (this.#before && this.#before.of !== gateway) {
      this.#rates.push(Math.max(0, ((now.lines - this.#before.lines) / (now.at - this.#before.at)) * 1000));
      this.#rates = this.#rates.slice(-POINTS);
    }
    if (this.#before?.of !== gateway) this.#before = now;
    const rate = this.#rates.at(-1);
    const line = sparkline([], [...Array(POINTS - this.#rates.length).fill(0), ...this.#rates], "events a second, the last minutes");
    const spool = gateway.spool;
    return [
      card("Coming in", rate === undefined ? "…" : `${rate >= 10 ? short(Math.round(rate)) : rate.toFixed(1)} events/s`, `${short(now.lines)} since the start`, line),
      card("Lag", duration(gateway.lag_seconds), "age of the oldest that waits"),
      card("Spool", plural(spool.depth, "block"), `${bytes(spool.bytes)} of ${bytes(spool.quota_bytes)}`, meter(spool.bytes / Math.max(1, spool.quota_bytes), "spool used")),
      card("Disk", `${bytes(gateway.disk.free_bytes)} free`, `of ${bytes(gateway.disk.total_bytes)}`, meter(1 - gateway.disk.free_bytes / gateway.disk.total_bytes, "disk used")),
      card("Up", duration(gateway.uptime_seconds), `neve ${gateway.version}`),
      ...(gateway.shards ? [shards(gateway.shards)] : []),
    ];
  }

  /** @param {Storage} storage @param {Cold | null} cold */
  #table(storage, cold) {
    const names = [...new Set([...storage.namespaces.map((one) => one.namespace), ...Object.keys(cold?.policies ?? {}), ...(cold?.namespaces ?? []).map((one) => one.namespace)])].sort();
    const heads = ["namespace", "events/s", "hot events", "hot size", "cold events", "cold size", "ages", "kept", "epochs", "since"];
    return h("table", {}, h("thead", {}, h("tr", {}, heads.map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, names.map((name) => this.#row(name, storage, cold))));
  }

  /** Events a second that a namespace came to hold since the answer before; null at the first. @param {string} name @param {number} events @param {Storage} of */
  #rateOf(name, events, of) {
    const now = performance.now();
    const before = this.#stored.get(name);
    if (before?.of === of) return before.rate;
    const rate = before ? Math.max(0, ((events - before.events) / (now - before.at)) * 1000) : null;
    this.#stored.set(name, { at: now, events, rate, of });
    return rate;
  }

  /** @param {string} name @param {Storage} storage @param {Cold | null} cold */
  #row(name, storage, cold) {
    const hot = together(storage.namespaces.filter((one) => one.namespace === name));
    const aged = cold?.namespaces.find((one) => one.namespace === name);
    const policy = cold?.policies?.[name];
    const epochs = storage.epochs.filter((one) => one.namespace === name);
    const present = epochs.find((one) => one.state === "present");
    const days = (/** @type {number} */ n) => (n ? `${n} d` : "for ever");
    const services = Object.entries(policy?.services ?? {}).map(([service, n]) => `${service} ${days(n)}`);
    const cell = (/** @type {string | number | null | undefined} */ value, number = true) => h("td", { class: number ? "number" : null }, value ?? "–");
    const rate = this.#rateOf(name, (hot?.events ?? 0) + (aged?.events ?? 0), storage);
    return h("tr", {},
      h("th", { scope: "row" }, name),
      cell(rate === null ? null : rate.toFixed(1)),
      cell(hot && count(hot.events)), cell(hot && bytes(hot.bytes)),
      cell(aged && count(aged.events)), cell(aged && bytes(aged.bytes)),
      cell(policy && (policy.tier === "hot" ? "never" : `after ${policy.age_after_hours} h`), false),
      cell(policy && [days(policy.keep_days), ...services].join(", "), false),
      cell(epochs.map((one) => one.state).reduce((all, state) => (all.includes(state) ? all : [...all, state]), /** @type {string[]} */ ([])).map((state) => `${epochs.filter((one) => one.state === state).length} ${state}`).join(", "), false),
      h("td", { title: present ? full(present.opened_at, this.#utc, 0) : null }, present ? ago(present.opened_at) : "–"));
  }
}

/** What the shards of a cluster hold of a namespace; undefined where none has it. @param {Size[]} sizes @returns {Size | undefined} */
const together = (sizes) => (sizes.length ? sizes.reduce((all, one) => ({ ...all, events: all.events + one.events, bytes: all.bytes + one.bytes, parts: all.parts + one.parts })) : undefined);

/** @param {{ shard: string, alive: boolean }[]} all */
const shards = (all) => {
  const away = all.filter((one) => !one.alive).map((one) => one.shard);
  return card("Shards", `${all.length - away.length} of ${all.length} answer`, away.length ? `away: ${away.join(", ")}` : "of the cluster");
};

/** @param {Record<string, unknown> | undefined} troubles */
const said = (troubles) => Object.entries(troubles ?? {}).map(([what, text]) => `${what}: ${typeof text === "string" ? text : JSON.stringify(text)}`);

/** @param {string} name @param {string} figure @param {string} more @param {Element} [drawing] */
function card(name, figure, more, drawing) {
  return h("section", { class: "card", "aria-label": name }, h("h3", {}, name), h("p", { class: "figure" }, figure), h("p", { class: "note" }, more), drawing);
}

/** @param {number} part @param {string} label */
function meter(part, label) {
  return h("meter", { min: 0, max: 1, low: 0.8, high: 0.92, optimum: 0, value: Math.min(1, part), "aria-label": label });
}
