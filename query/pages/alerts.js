// Alerts: what fires, what waits, what could not be looked at; and what is made of the present query.

import { ask } from "./api.js";
import { AlertForm } from "./alertform.js";
import { AlertRow } from "./alertrow.js";
import { button, h } from "./dom.js";
import { count } from "./format.js";
import { Polled } from "./polled.js";
import { RowKeys } from "./rowkeys.js";
import { savedOf } from "./saving.js";
import { address, go, read } from "./state.js";
import { shown } from "./text.js";

/** @import { Alert, SavedSearch, State, View } from "./types" */

const EVERY_MS = 5000;
const STATES = ["firing", "pending", "unknown", "ok", "paused"];
const FORMS = ["new", "edit"];

/** @typedef {{ evaluator: { state: string, reason: string }, counts: Record<string, number>, alerts: Pick<Alert, "id" | "state">[] }} Evaluated */

/** @implements {View} */
export class Alerts {
  #bar = h("div", { class: "viewbar" });
  #away = h("p", { class: "fault", role: "status", "aria-live": "polite" });
  #form = h("div", {});
  #list = h("ul", { class: "kept", "aria-label": "Alerts" });
  element = h("div", { class: "scroll" }, this.#bar, this.#away, this.#form, this.#list);
  #polled = new Polled((signal) => this.#learn(signal), () => this.#show());
  /** @type {Evaluated | null} */
  #evaluated = null;
  #keys = new RowKeys(this.#list, "li.alert", "button.name");
  /** @type {Map<string, AlertRow>} */
  #rows = new Map();
  /** @type {Alert[] | null} */
  #alerts = null;
  /** @type {SavedSearch[]} */
  #saved = [];
  #namespace = "";
  #timer = 0;
  #formOf = "";

  leave() {
    clearInterval(this.#timer);
    this.#polled.stop();
    for (const row of this.#rows.values()) row.stop();
    this.#namespace = this.#formOf = "";
    this.#form.replaceChildren();
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.key === "n") {
      go({ show: "new", open: "" });
      return true;
    }
    return this.#keys.key(event);
  }

  /** @param {State} state @param {boolean} fresh */
  show(state, fresh) {
    const namespace = state.namespace || "default";
    if (namespace !== this.#namespace || fresh) {
      if (namespace !== this.#namespace) this.#alerts = null;
      this.#namespace = namespace;
      clearInterval(this.#timer);
      this.#timer = window.setInterval(() => this.#tick(), EVERY_MS);
      this.#polled.ask(true);
    } else this.#draw(state);
  }

  /** @param {AbortSignal} signal */
  async #learn(signal) {
    const { namespace } = read();
    const now = /** @type {Evaluated} */ (await ask("/api/v1/alerts/state", { namespace }, signal)); // answered whatever is away
    this.#evaluated = now;
    const states = new Map(now.alerts.map((one) => [one.id, one.state]));
    this.#alerts = this.#alerts?.map((alert) => ({ ...alert, state: states.get(alert.id) ?? alert.state })) ?? null;
    const [{ alerts }, saved] = await Promise.all([
      /** @type {Promise<{ alerts: Alert[] }>} */ (ask("/api/v1/alerts", { namespace }, signal)),
      savedOf(namespace || "default", signal),
    ]);
    this.#alerts = alerts;
    this.#saved = saved;
  }

  /** Also while there is no answer: what is shown grows old. */
  #tick() {
    if (document.hidden) return;
    if (this.#polled.isAsking) this.#show();
    this.#polled.ask();
  }

  #show() {
    const { state, reason } = this.#evaluated?.evaluator ?? { state: "running", reason: "" };
    const away = state === "running" || !this.#evaluated?.alerts.length ? [] : ["Nobody looks now: what is shown may be over. ", shown(reason), " "];
    this.#away.replaceChildren(...away, shown(this.#polled.trouble));
    this.#draw(read());
  }

  /** @param {State} state */
  #draw(state) {
    const alerts = this.#alerts;
    if (!alerts) return;
    this.#controls(state);
    this.#showForm(state, alerts);
    const rank = (/** @type {Alert} */ alert) => STATES.indexOf(alert.state.state);
    const wanted = STATES.includes(state.show) ? alerts.filter((one) => one.state.state === state.show) : alerts;
    const listed = wanted.toSorted((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name));
    const rows = listed.map((alert) => {
      const row = this.#rows.get(alert.id) ?? new AlertRow(alert, () => this.#polled.ask(true));
      this.#rows.set(alert.id, row);
      const saved = this.#saved.find((one) => one.id === alert.saved);
      row.show(alert, { utc: state.utc, open: state.open === alert.id && !FORMS.includes(state.show), query: alert.saved ? (saved?.query ?? null) : alert.query });
      return row.element;
    });
    const same = rows.length === this.#list.childElementCount && rows.every((row, i) => row === this.#list.children[i]);
    if (!rows.length) this.#list.replaceChildren(h("li", { class: "nothing" }, alerts.length ? `No alert is ${state.show}.` : "There are no alerts in this namespace. One looks at a query again and again, and tells a webhook when there is more, or nothing, or something new."));
    else if (!same) this.#list.replaceChildren(...rows); // else what has the focus keeps it
  }

  /** @param {State} state */
  #controls(state) {
    const focused = document.activeElement instanceof HTMLElement && this.#bar.contains(document.activeElement) ? document.activeElement.dataset["chip"] : undefined;
    const chips = STATES.map((name) => button(`Only those that are ${name}`, [name, h("span", { class: "n" }, ` ${count(this.#evaluated?.counts[name] ?? 0)}`)], () => go({ show: state.show === name ? "" : name }), { class: "chip", "data-chip": name, "aria-pressed": String(state.show === name) }));
    this.#bar.replaceChildren(h("a", { class: "tab new", href: address({ show: "new", open: "" }) }, "New alert"), h("span", { class: "chips", role: "group", "aria-label": "States" }, chips));
    if (focused) /** @type {HTMLElement | null} */ (this.#bar.querySelector(`[data-chip="${focused}"]`))?.focus();
  }

  /** @param {State} state @param {Alert[]} alerts */
  #showForm(state, alerts) {
    const edited = state.show === "edit" ? alerts.find((one) => one.id === state.open) : undefined;
    const of = state.show === "new" ? "new" : edited ? `edit ${edited.id}` : "";
    if (of === this.#formOf) return; // what is typed there stays
    this.#formOf = of;
    if (!of) {
      this.#form.replaceChildren();
      return;
    }
    const form = new AlertForm(edited ?? null, state, this.#saved, (alert) => {
      if (alert) go({ show: "", open: alert.id });
      else go({ show: "", open: edited?.id ?? "" });
      this.#polled.ask(true);
    });
    this.#form.replaceChildren(form.element);
    form.focus();
  }
}
