// An alert as a form: a new one of the present query, or one that is there.

import { ask, asApiError, Latest, send } from "./api.js";
import { pathOf } from "./alertrow.js";
import { button, h } from "./dom.js";
import { count } from "./format.js";
import { icon } from "./icons.js";
import { leavesEvents, term } from "./language.js";
import { shown } from "./text.js";

/** @import { Alert, Field, Found, SavedSearch, State, Webhook } from "./types" */

const KINDS = /** @type {[string, string][]} */ ([["count", "events, counted"], ["new_pattern", "a new pattern"], ["silence", "silence"]]);
const OPS = /** @type {[string, string][]} */ ([[">", "more than"], [">=", "at least"], ["<", "fewer than"], ["<=", "at most"], ["=", "just"], ["!=", "not just"]]);
const FORMATS = /** @type {[string, string][]} */ ([["neve", "Neve's JSON"], ["slack", "Slack"], ["alertmanager", "Alertmanager"]]);
const HOOKS = 5;
const UNSAID = /** @type {Record<string, string>} */ ({ for: "0s", every: "1m", delay: "30s", repeat: "4h", lookback: "1d" });
const PAUSE_MS = 400;
let made = 0; // numbers the fields, for their labels

/** An alert's labels as they are typed. @param {Alert | null} alert */
const written = (alert) => Object.entries(alert?.labels ?? {}).map(([name, value]) => `${name}=${value}`).join(", ");

export class AlertForm {
  #alert;
  #state;
  #done;
  #asking = new Latest();
  #timer = 0;
  #name;
  #saved;
  #query;
  #kind;
  #op;
  #threshold;
  #by;
  #window;
  #lookback;
  /** @type {Record<string, HTMLInputElement>} those that have a value of their own where nothing is given */
  #more;
  #onUnknown;
  #resolved;
  #labels;
  #note;
  #hooks = h("div", { class: "hooks" });
  #add = button("One more webhook", "Add a webhook", () => this.#addHook(null), { class: "tab" });
  #preview = h("p", { class: "note wide", role: "status", "aria-live": "polite" });
  #fault = h("p", { class: "fault wide", role: "alert" });
  #names = h("datalist", { id: "alert-fields" });
  element;

  /**
   * @param {Alert | null} alert null for a new one
   * @param {State} state
   * @param {SavedSearch[]} saved
   * @param {(alert: Alert | null) => void} done with null where nothing was changed
   */
  constructor(alert, state, saved, done) {
    this.#alert = alert;
    this.#state = state;
    this.#done = done;
    const opened = alert ? null : saved.find((one) => one.id === state.saved && one.query === state.q);
    const text = (/** @type {string} */ value, /** @type {Record<string, string | number | boolean>} */ attributes = {}) => h("input", { value, autocomplete: "off", spellcheck: "false", ...attributes });
    const select = (/** @type {[string, string][]} */ offered, /** @type {string} */ value) => h("select", {}, offered.map(([one, name]) => h("option", { value: one, selected: one === value }, name)));
    this.#name = text(alert?.name ?? opened?.name ?? "", { required: true, maxlength: 200 });
    this.#saved = select([["", "a query of its own"], ...saved.map((one) => /** @type {[string, string]} */ ([one.id, one.name.slice(0, 80)]))], alert?.saved ?? opened?.id ?? "");
    this.#query = h("textarea", { rows: 2, class: "mono", spellcheck: "false" });
    this.#query.value = alert ? (alert.query ?? "") : state.q;
    this.#kind = select(KINDS, alert?.kind ?? "count");
    this.#op = select(OPS, alert?.op ?? ">");
    this.#threshold = text(String(alert?.threshold ?? 0), { type: "number", step: "any" });
    this.#by = text(alert?.by ?? "", { list: "alert-fields", placeholder: "of all" });
    this.#window = text(alert?.window ?? "5m", { required: true });
    this.#lookback = text(alert?.lookback ?? "", { placeholder: "1d" });
    this.#more = { for: text(alert?.for ?? "", { placeholder: "at once" }), every: text(alert?.every ?? "", { placeholder: "1m" }), delay: text(alert?.delay ?? "", { placeholder: "30s" }), repeat: text(alert?.repeat ?? "", { placeholder: "4h" }) };
    this.#onUnknown = h("input", { type: "checkbox", checked: alert?.on_unknown === "alert" });
    this.#resolved = h("input", { type: "checkbox", checked: alert?.tell_resolved ?? true });
    this.#labels = text(written(alert), { placeholder: "severity=page, team=shop" });
    this.#note = h("textarea", { rows: 2, maxlength: 2000 });
    this.#note.value = alert?.note ?? "";
    this.element = this.#form();
    for (const webhook of alert?.webhooks ?? []) this.#addHook(webhook);
    this.#fit();
    this.#offerFields();
  }

  focus() {
    this.#name.focus();
  }

  #form() {
    const field = (/** @type {string} */ label, /** @type {HTMLElement} */ control, /** @type {Record<string, string>} */ attributes = {}, note = "") => {
      control.id ||= `alert-${(made += 1)}`;
      return h("div", { class: "field", ...attributes }, h("label", { for: control.id }, label), control, note ? h("span", { class: "note" }, note) : null);
    };
    const check = (/** @type {string} */ label, /** @type {HTMLInputElement} */ control) => {
      control.id ||= `alert-${(made += 1)}`;
      return h("div", {}, control, " ", h("label", { for: control.id }, label));
    };
    const more = this.#more;
    const form = h("form", { class: "form", "aria-label": this.#alert ? "Change the alert" : "New alert" },
      h("h2", {}, this.#alert ? ["Change ", shown(this.#alert.name)] : "New alert"),
      field("Name", this.#name, { class: "field two" }), field("It asks", this.#saved),
      field("Query", this.#query, { class: "field wide", "data-of": "own" }, "A filter; the steps where, extract and unpack may follow."),
      field("It waits for", this.#kind),
      field("of which there are", this.#op, { "data-of": "count" }), field("Threshold", this.#threshold, { "data-of": "count" }),
      field("Window", this.#window), field("By field", this.#by, { "data-of": "count silence" }),
      field("Had one within", this.#lookback, { "data-of": "silence" }),
      this.#preview,
      h("fieldset", {}, h("legend", {}, "Webhooks that are told"), this.#hooks, h("div", {}, this.#add)),
      h("details", { open: Boolean(this.#alert) }, h("summary", {}, "More"), h("div", {},
        field("For", /** @type {HTMLInputElement} */ (more["for"]), { "data-of": "count silence" }, "how long it must last"), field("Looks every", /** @type {HTMLInputElement} */ (more["every"])), field("Delay", /** @type {HTMLInputElement} */ (more["delay"]), {}, "time for events to arrive"), field("Tells again after", /** @type {HTMLInputElement} */ (more["repeat"])),
        field("Labels", this.#labels), field("Note", this.#note, {}, "is told too"),
        h("div", {}, h("div", { "data-of": "count silence" }, check("tell when it is over", this.#resolved)), check("tell when it cannot look", this.#onUnknown)))),
      this.#fault,
      h("p", { class: "ends wide" }, h("button", { class: "main" }, this.#alert ? "Change" : "Make"), button("Cancel", "Cancel", () => this.#done(null))),
      this.#names);
    form.addEventListener("input", () => this.#fit());
    form.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.#done(null);
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    return form;
  }

  /** Show what the kind needs, and what would be found now. */
  #fit() {
    const kinds = [this.#kind.value, this.#saved.value ? "" : "own"];
    for (const one of this.element.querySelectorAll("[data-of]")) {
      /** @type {HTMLElement} */ (one).hidden = !(one.getAttribute("data-of") ?? "").split(" ").some((kind) => kinds.includes(kind));
    }
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => this.#count(), PAUSE_MS);
  }

  /** What a count would be now. */
  async #count() {
    const own = !this.#saved.value;
    const by = this.#by.value.trim();
    const window_ = this.#window.value.trim();
    if (this.#kind.value !== "count" || !own || !window_ || !leavesEvents(this.#query.value) || !this.element.isConnected) {
      this.#preview.textContent = "";
      return;
    }
    const name = term(by, "").slice(0, -3);
    const q = `${this.#query.value.trim() || "*"} | stats count() as n${by ? ` by ${name} | sort -n | limit 3` : ""}`;
    const signal = this.#asking.next();
    try {
      const { rows = [] } = /** @type {Found} */ (await ask("/api/v1/search", { q, from: `now-${window_}`, namespace: this.#alert?.namespace ?? this.#state.namespace }, signal));
      const found = rows.map((row) => (by ? `${count(Number(row[1]))} of ${String(row[0] ?? "none")}` : count(Number(row[0])))).join(", ");
      this.#preview.replaceChildren(`In the last ${window_}: `, shown(found || "none", { limit: 300 }));
    } catch (error) {
      if (!signal.aborted) this.#preview.replaceChildren(shown(asApiError(error).message, { limit: 300 }));
    }
  }

  async #offerFields() {
    try {
      const { fields } = /** @type {{ fields: Field[] }} */ (await ask("/api/v1/fields", { from: "now-15m", namespace: this.#state.namespace }));
      this.#names.append(...fields.slice(0, 200).map((field) => h("option", { value: field.name })));
    } catch {
      // without them the name of a field is typed whole
    }
  }

  // --- webhooks ----------------------------------------------------------------------------------------------

  /** @param {Webhook | null} webhook */
  #addHook(webhook) {
    const url = h("input", { type: webhook ? "text" : "url", "aria-label": "Address of the webhook", placeholder: "https://…", value: webhook?.url ?? "", required: true, autocomplete: "off", spellcheck: "false" });
    const format = h("select", { "aria-label": "Format" }, FORMATS.map(([value, name]) => h("option", { value, selected: value === webhook?.format }, name)));
    const secret = h("input", { type: "password", "aria-label": "Secret to sign with", placeholder: webhook?.signed ? "signed; empty: as it is" : "secret to sign with", autocomplete: "new-password" });
    const row = h("div", { class: "hook", "data-id": webhook?.id ?? null, "data-url": webhook?.url ?? null }, url, format, secret, button("Remove this webhook", icon("cross"), () => {
      row.remove();
      this.#add.disabled = false;
      this.#add.focus();
    }, { class: "plain" }));
    this.#hooks.append(row);
    this.#add.disabled = this.#hooks.childElementCount >= HOOKS;
    if (!webhook) url.focus();
  }

  /** @returns {Webhook[]} what is not said stays as it is */
  #webhooks() {
    return [...this.#hooks.children].map((row) => {
      const [url, format, secret] = [...row.querySelectorAll("input, select")].map((one) => /** @type {HTMLInputElement} */ (one).value.trim());
      const { id, url: before } = /** @type {HTMLElement} */ (row).dataset;
      return { ...(id ? { id } : {}), ...(url !== before ? { url: url ?? "" } : {}), format: format ?? "", ...(secret ? { secret } : {}) };
    });
  }

  // --- sent --------------------------------------------------------------------------------------------------

  #said() {
    const kind = this.#kind.value;
    // Of a new one the server knows what holds where nothing is given; of one that is there it would stay as it was.
    const given = Object.entries(this.#more).flatMap(([name, input]) => {
      const value = input.value.trim() || (this.#alert ? UNSAID[name] : "");
      return value ? [[name, value]] : [];
    });
    const lookback = this.#lookback.value.trim() || (this.#alert ? UNSAID["lookback"] : "");
    // A comma is of a value where no name and no = come behind it.
    const labels = this.#labels.value.split(/,(?=\s*(?:[A-Za-z_]\w*\s*=|$))/).map((one) => one.trim()).filter(Boolean).map((one) => [one.split("=")[0]?.trim() ?? "", one.slice(one.indexOf("=") + 1).trim()]);
    return {
      name: this.#name.value.trim(),
      ...(this.#saved.value ? { saved: this.#saved.value, query: "" } : { saved: null, query: this.#query.value.trim() }),
      kind,
      ...(kind === "count" ? { op: this.#op.value, threshold: Number(this.#threshold.value) } : {}),
      ...(kind === "new_pattern" ? { by: null } : { by: this.#by.value.trim() || null, tell_resolved: this.#resolved.checked }),
      ...(kind === "silence" && lookback ? { lookback } : {}),
      window: this.#window.value.trim(),
      ...Object.fromEntries(given),
      ...(kind === "new_pattern" ? { for: "0s" } : {}), // each pattern is told as it comes
      on_unknown: this.#onUnknown.checked ? "alert" : "keep",
      labels: this.#alert && this.#labels.value === written(this.#alert) ? this.#alert.labels : Object.fromEntries(labels),
      note: this.#note.value.trim(),
      webhooks: this.#webhooks(),
    };
  }

  async #submit() {
    this.#fault.replaceChildren();
    try {
      const alert = this.#alert;
      const changed = alert
        ? await send("PUT", pathOf(alert.id), { ...this.#said(), version: alert.version })
        : await send("POST", "/api/v1/alerts", { ...this.#said(), namespace: this.#state.namespace || "default" });
      this.#done(/** @type {Alert} */ (changed));
    } catch (error) {
      const { message, hint } = asApiError(error);
      this.#fault.replaceChildren(shown(message), hint ? " — " : "", shown(hint, { lines: true }));
    }
  }
}
