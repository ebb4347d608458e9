// One alert in the list: its state, what it asks, and, opened, its groups, its deliveries and what can be done with it.

import { ask, asApiError, Latest, send } from "./api.js";
import { button, h } from "./dom.js";
import { count, duration, plural } from "./format.js";
import { term, withTerm } from "./language.js";
import { madeBy } from "./saving.js";
import { address, go } from "./state.js";
import { shown, templateNodes } from "./text.js";
import { ago, full } from "./time.js";

/** @import { Alert, AlertGroup, Delivery } from "./types" */

const MUTES = /** @type {[string, string][]} */ ([["30m", "30 minutes"], ["1h", "an hour"], ["4h", "4 hours"], ["1d", "a day"], ["7d", "a week"]]);
const OPS = /** @type {Record<string, string>} */ ({ ">": "more than", ">=": "at least", "<": "fewer than", "<=": "at most", "=": "just", "!=": "not just" });
const GROUPS = 100;
const DELIVERIES = 20;

export const pathOf = (/** @type {string} */ id) => `/api/v1/alerts/${encodeURIComponent(id)}`;

/** What an alert waits for, in words. @param {Alert} alert */
export function conditionOf({ kind, op, threshold, by, window, lookback, for: lasting }) {
  const each = by ? ` of one ${by}` : "";
  const said = kind === "count" ? `${OPS[op ?? ""] ?? op} ${count(threshold ?? 0)} events${each} in ${window}`
    : kind === "silence" ? `no event${each} for ${window}${by ? `, of those that had one within ${lookback}` : ""}`
    : `a pattern that never was before, in the last ${window}`;
  return lasting && lasting !== "0s" ? `${said}, for ${lasting}` : said;
}

/** The value of a group, against what it is compared with. @param {Alert} alert @param {AlertGroup} group */
function valueOf({ kind, op, threshold, window }, { value, state }) {
  if (value === null) return "–";
  if (kind === "count") return `${count(value)}${state === "ok" ? ", not" : ""} ${op} ${count(threshold ?? 0)}`;
  return kind === "silence" ? `${duration(value)} of ${window}` : plural(value, "event");
}

export class AlertRow {
  #name = h("button", { type: "button", class: "name", "aria-expanded": "false" });
  #line = h("div", { class: "line" });
  #about = h("div", { class: "about" });
  #panel = h("div", { class: "opened", hidden: true });
  #events = h("a", { class: "tab" }, "Events of its window");
  #tools = h("div", { class: "line", role: "group", "aria-label": "This alert" });
  #said = h("div", { role: "status", "aria-live": "polite" });
  #groups = h("div", {});
  #deliveries = h("div", {});
  element = h("li", { class: "keep alert" }, this.#line, this.#about, this.#panel);
  #asking = new Latest();
  #changed;
  /** @type {Alert} */
  alert;
  #utc = false;
  #toolsOf = "";

  /** @param {Alert} alert @param {() => void} changed called when it has become another */
  constructor(alert, changed) {
    this.alert = alert;
    this.#changed = changed;
    this.#name.addEventListener("click", () => go({ open: this.#panel.hidden ? alert.id : "" }, { replace: true }));
    this.#panel.append(this.#tools, this.#said, this.#groups, this.#deliveries);
  }

  /** @param {Alert} alert @param {{ utc: boolean, open: boolean, query: string | null }} how `query`: what it asks, where that is known */
  show(alert, { utc, open, query }) {
    this.alert = alert;
    this.#utc = utc;
    const { state } = alert;
    const worst = state.groups[0];
    this.#name.replaceChildren(shown(alert.name));
    this.#name.setAttribute("aria-expanded", String(open));
    const keepsFocus = document.activeElement === this.#name;
    this.#line.replaceChildren(
      h("span", { class: `state ${state.state}` }, state.state), this.#name,
      worst && ["firing", "pending", "ok"].includes(state.state) ? h("span", { class: "value" }, h("b", {}, valueOf(alert, worst)), worst.group && alert.kind !== "new_pattern" ? [" ", shown(worst.group, { limit: 60 })] : null, state.groups_in_all > 1 ? h("span", { class: "note" }, ` and ${count(state.groups_in_all - 1)} more`) : null) : "",
      h("span", { class: "gap" }),
      state.muted && alert.muted_until ? h("span", { class: "note", title: alert.mute_reason }, `muted until ${full(alert.muted_until, utc, 0).slice(0, 16)}`) : "",
      state.waiting ? h("span", { class: "fault" }, `${count(state.waiting)} not delivered yet`) : "",
      state.dropped ? h("span", { class: "fault" }, `${count(state.dropped)} given up`) : "",
      state.since ? h("span", { class: "note", title: full(state.since, utc, 0) }, `since ${ago(state.since)}`) : "",
      h("span", { class: "note", title: state.evaluated_at ? full(state.evaluated_at, utc, 0) : null }, state.evaluated_at ? `looked ${ago(state.evaluated_at)}` : "has not looked yet"));
    if (keepsFocus) this.#name.focus();
    const known = [...madeBy(alert.owner), ...Object.entries(alert.labels).map(([label, value]) => `${label}=${value}`)];
    this.#about.replaceChildren(
      h("div", {}, conditionOf(alert), " · ", h("span", { class: "mono" }, query === null ? "a saved search that is no more" : query ? shown(query, { limit: 300 }) : "every event")),
      ...(state.reason ? [h("div", { class: state.state === "unknown" ? "fault" : "note" }, shown(state.reason))] : []),
      ...(state.late || state.late_events ? [h("div", { class: "note" }, `events came late${state.late_events ? `: ${count(state.late_events)} after it had looked` : ""}`)] : []),
      ...(known.length ? [h("div", { class: "note" }, shown(known.join(" · "), { limit: 500 }))] : []),
      ...(alert.note ? [h("div", { class: "note" }, shown(alert.note, { limit: 500 }))] : []));
    this.#panel.hidden = !open;
    if (!open) return;
    this.#showTools(query);
    this.#showGroups();
    this.#askDeliveries();
  }

  stop() {
    this.#asking.stop();
  }

  // --- what can be done --------------------------------------------------------------------------------------

  /** @param {string | null} query */
  #showTools(query) {
    const { alert } = this;
    const { id, name, enabled, state } = alert;
    const range = state.window ?? { from: `now-${alert.window}`, to: "" };
    this.#events.href = address({ view: "explore", q: query ?? "", ...range, saved: alert.saved ?? "" });
    const of = JSON.stringify([enabled, alert.muted_until, state.muted, alert.may_change, query === null]);
    if (of === this.#toolsOf) return; // they may be in use
    this.#toolsOf = of;
    const act = (/** @type {string} */ label, /** @type {() => Promise<unknown>} */ work) => button(`${label}: ${name.slice(0, 80)}`, label, () => this.#do(work), { class: "tab" });
    this.#tools.replaceChildren(...[
      query === null ? null : this.#events,
      ...(alert.may_change ? [
        h("a", { class: "tab", href: address({ show: "edit", open: id }) }, "Edit"),
        act("Test", () => this.#test()),
        act(enabled ? "Pause" : "Go on", () => send("PUT", pathOf(id), { enabled: !enabled })),
        state.muted ? act("Unmute", () => send("POST", `${pathOf(id)}/mute`, { until: null })) : this.#mute(),
        h("span", { class: "gap" }),
        this.#deletion(),
      ] : [h("span", { class: "note" }, "To change it needs a key with the scope alert.")]),
    ].filter((one) => one !== null));
  }

  #mute() {
    const until = h("select", { "aria-label": "Mute for" }, MUTES.map(([value, name]) => h("option", { value }, name)));
    const reason = h("input", { "aria-label": "Why it is muted", placeholder: "why", size: 14, maxlength: 200, autocomplete: "off" });
    const form = h("form", { class: "line" }, h("button", { class: "tab" }, "Mute for"), until, reason);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#do(() => send("POST", `${pathOf(this.alert.id)}/mute`, { until: until.value, reason: reason.value.trim() }));
    });
    return form;
  }

  #deletion() {
    const made = button(`Delete ${this.alert.name}`, "Delete", () => {
      if (made.classList.contains("sure")) this.#do(() => send("DELETE", pathOf(this.alert.id)));
      made.classList.add("sure");
      made.textContent = "Delete for good?";
    }, { class: "tab" });
    made.addEventListener("blur", () => {
      made.classList.remove("sure");
      made.textContent = "Delete";
    });
    return made;
  }

  async #test() {
    this.#said.replaceChildren(h("p", { class: "note" }, "looking, and telling the webhooks…"));
    const found = /** @type {{ state: Alert["state"], deliveries: Delivery[] }} */ (await send("POST", `${pathOf(this.alert.id)}/test`, {}));
    const told = found.deliveries.map((one) => h("li", { class: one.delivered ? null : "fault" }, shown(one.url), `: ${outcome(one)}`));
    this.#said.replaceChildren(h("p", {}, `Tested: it would be ${found.state.state}. ${told.length ? "Told:" : "It has no webhooks."}`), h("ul", {}, told));
  }

  /** @param {() => Promise<unknown>} work */
  async #do(work) {
    try {
      this.#said.replaceChildren();
      await work();
      this.#changed();
    } catch (error) {
      const { message, hint } = asApiError(error);
      this.#said.replaceChildren(h("p", { class: "fault", role: "alert" }, shown(message), hint ? " — " : "", shown(hint)));
    }
  }

  // --- groups, deliveries ------------------------------------------------------------------------------------

  #showGroups() {
    const { alert } = this;
    const { groups, groups_in_all: all } = alert.state;
    if (!groups.length) {
      this.#groups.replaceChildren();
      return;
    }
    const isTold = alert.webhooks.length > 0;
    const heads = [alert.kind === "new_pattern" ? "pattern" : (alert.by ?? "of"), "state", "value", "since", ...(isTold ? ["told"] : [])];
    const rows = groups.slice(0, GROUPS).map((group) => [
      h("span", { class: "mono" }, this.#groupName(group)),
      h("span", { class: `state ${group.state}` }, group.state), valueOf(alert, group), this.#time(group.since),
      ...(isTold ? [group.told ? h("span", {}, `${group.told} `, this.#time(group.told_at)) : "–"] : []),
    ]);
    this.#groups.replaceChildren(table("Groups", heads, rows), all > groups.length ? h("p", { class: "note" }, `${count(all - groups.length)} more`) : "");
  }

  /** @param {AlertGroup} group */
  #groupName({ group, template, sample }) {
    const { kind, by, query } = this.alert;
    const to = (/** @type {string} */ found) => address({ view: "explore", q: withTerm(query ?? "", found) });
    if (kind === "new_pattern") return h("a", { href: to(term("fingerprint", group)), title: sample?.slice(0, 300) }, template ? templateNodes(template) : shown(group));
    return by && group ? h("a", { href: to(term(by, group)) }, shown(group, { limit: 120 })) : by ? `no ${by}` : "all events";
  }

  async #askDeliveries() {
    const signal = this.#asking.next();
    try {
      const { deliveries } = /** @type {{ deliveries: Delivery[] }} */ (await ask(`${pathOf(this.alert.id)}/deliveries`, { limit: DELIVERIES }, signal));
      const rows = deliveries.map((one) => [this.#time(one.at), one.kind, h("span", { class: "mono" }, shown(one.url, { limit: 80 })), plural(one.groups, "group"), `${one.attempt}`, h("span", { class: one.delivered ? null : "fault" }, outcome(one), one.next_at ? [" — again at ", full(one.next_at, this.#utc, 0).slice(11)] : null)]);
      this.#deliveries.replaceChildren(rows.length ? table("Deliveries", ["at", "told", "to", "of", "attempt", "answer"], rows) : h("p", { class: "note" }, this.alert.webhooks.length ? "Nothing was delivered yet." : "It has no webhooks: its state is shown here alone."));
    } catch (error) {
      if (!signal.aborted) this.#deliveries.replaceChildren(h("p", { class: "note" }, shown(asApiError(error).message)));
    }
  }

  /** @param {string | null} at */
  #time(at) {
    return at ? h("time", { title: ago(at) }, full(at, this.#utc, 0)) : "–";
  }
}

/** @param {Delivery} delivery */
const outcome = ({ delivered, status, error, ms }) => [delivered ? "delivered" : "failed", status ? `${status}` : "", error, ms === null ? "" : `${ms} ms`].filter(Boolean).join(", ");

/** @param {string} name @param {string[]} heads @param {(Node | string)[][]} rows */
function table(name, heads, rows) {
  return h("section", {}, h("h3", {}, name), h("div", { class: "table", tabindex: "0", role: "region", "aria-label": name },
    h("table", {}, h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))), h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell) => h("td", {}, cell))))))));
}
