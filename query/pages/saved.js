// Saved: the searches that somebody gave a name, of one namespace.

import { asApiError, Latest } from "./api.js";
import { say } from "./copy.js";
import { button, h } from "./dom.js";
import { plural } from "./format.js";
import { RowKeys } from "./rowkeys.js";
import { addressOfSaved, change, madeBy, remove, savedOf } from "./saving.js";
import { address, go } from "./state.js";
import { shown } from "./text.js";
import { ago, full, rangeName } from "./time.js";

/** @import { SavedSearch, State, View } from "./types" */

/** @implements {View} */
export class Saved {
  #find = h("input", { type: "search", "aria-label": "Find a saved search", placeholder: "Find by name or query", autocomplete: "off", spellcheck: "false" });
  #summary = h("p", { class: "summary", role: "status", "aria-live": "polite" });
  #list = h("ul", { class: "kept", "aria-label": "Saved searches" });
  element = h("div", { class: "scroll" }, h("div", { class: "viewbar" }, this.#find, this.#summary), this.#list);
  #asking = new Latest();
  #keys = new RowKeys(this.#list, "li.keep", "a.name");
  /** @type {SavedSearch[]} */
  #saved = [];
  #namespace = "";
  #shownOf = ""; // the namespace whose searches are shown
  #utc = false;

  constructor() {
    this.#find.addEventListener("input", () => go({ mark: this.#find.value }, { replace: true }));
  }

  leave() {
    this.#asking.stop();
    this.#namespace = "";
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    return this.#keys.key(event);
  }

  /** @param {State} state @param {boolean} fresh */
  show(state, fresh) {
    if (this.#find.value !== state.mark) this.#find.value = state.mark;
    this.#utc = state.utc;
    const namespace = state.namespace || "default";
    if (namespace === this.#namespace && !fresh) this.#draw();
    else this.#ask(namespace);
  }

  /** @param {string} namespace */
  async #ask(namespace) {
    this.#namespace = namespace;
    const signal = this.#asking.next();
    try {
      const found = await savedOf(namespace, signal);
      if (this.#shownOf === namespace && JSON.stringify(found) === JSON.stringify(this.#saved)) return; // it may be in use
      this.#saved = found;
      this.#shownOf = namespace;
      this.#draw();
    } catch (error) {
      if (signal.aborted) return;
      const { message, hint } = asApiError(error);
      this.#saved = [];
      this.#shownOf = "";
      this.#summary.replaceChildren();
      this.#list.replaceChildren(h("li", { class: "nothing" }, shown(message), hint ? " — " : "", shown(hint)));
    }
  }

  #draw() {
    const sought = this.#find.value.trim().toLowerCase();
    const fitting = this.#saved.filter((one) => `${one.name}\n${one.query}`.toLowerCase().includes(sought));
    this.#find.hidden = !this.#saved.length;
    this.#summary.textContent = this.#saved.length ? `${plural(fitting.length, "saved search").replace("searchs", "searches")} in ${this.#namespace}` : "";
    if (fitting.length) this.#list.replaceChildren(...fitting.map((one) => this.#row(one)));
    else this.#list.replaceChildren(h("li", { class: "nothing" }, ...(this.#saved.length ? ["No such search."] : nothing())));
  }

  /** @param {SavedSearch} saved */
  #row(saved) {
    const fault = h("p", { class: "fault", role: "alert" });
    const row = h("li", { class: "keep" });
    const opened = addressOfSaved(saved);
    const tools = h("span", { class: "acts texts" },
      h("a", { class: "tab", href: address({ view: "alerts", show: "new", saved: saved.id, q: saved.query }) }, "Alert"),
      saved.mine && button(`Rename ${saved.name}`, "Rename", () => this.#rename(saved, row, fault), { class: "tab" }),
      saved.mine && this.#deletion(saved, fault));
    row.append(
      h("div", { class: "line" }, h("a", { class: "name", href: opened }, shown(saved.name)), h("span", { class: "gap" }), tools),
      h("div", { class: "mono" }, saved.query ? shown(saved.query, { limit: 400 }) : h("span", { class: "note" }, "every event")),
      h("div", { class: "note" }, shown([saved.view, rangeName(saved.from || (saved.to ? "" : "all"), saved.to, this.#utc).toLowerCase(), ...madeBy(saved.owner)].join(" · ")),
        " · ", h("time", { title: full(saved.updated_at, this.#utc, 0) }, `changed ${ago(saved.updated_at)}`),
        saved.alerts ? [" · ", h("a", { href: address({ view: "alerts" }) }, plural(saved.alerts, "alert"))] : null),
      fault,
    );
    return row;
  }

  /** A button that is pressed twice. @param {SavedSearch} saved @param {HTMLElement} fault */
  #deletion(saved, fault) {
    const made = button(`Delete ${saved.name}`, "Delete", async () => {
      if (!made.classList.contains("sure")) {
        made.classList.add("sure");
        made.textContent = "Delete for good?";
        return;
      }
      await this.#done(fault, async () => {
        await remove(saved.id);
        say(`deleted: ${saved.name}`);
      });
    }, { class: "tab" });
    made.addEventListener("blur", () => {
      made.classList.remove("sure");
      made.textContent = "Delete";
    });
    return made;
  }

  /** @param {SavedSearch} saved @param {HTMLElement} row @param {HTMLElement} fault */
  #rename(saved, row, fault) {
    const name = h("input", { "aria-label": "New name", value: saved.name, required: true, maxlength: 200, size: 36, autocomplete: "off" });
    const form = h("form", { class: "line" }, name, h("button", {}, "Rename"), button("Cancel", "Cancel", () => this.#draw()));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#done(fault, () => change(saved.id, { name: name.value.trim(), version: saved.version }));
    });
    form.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.#draw();
    });
    row.firstElementChild?.replaceWith(form);
    name.select();
  }

  /** Do something, and show what is there then. @param {HTMLElement} fault @param {() => Promise<unknown>} work */
  async #done(fault, work) {
    try {
      await work();
      await this.#ask(this.#namespace);
    } catch (error) {
      const { message, hint } = asApiError(error);
      fault.replaceChildren(shown(message), hint ? " — " : "", shown(hint));
    }
  }
}

const nothing = () => [h("p", {}, "No search is saved in this namespace."), h("p", {}, h("a", { href: address({ view: "explore" }) }, "Ask for something"), ", then save it with the button beside Search, or ", h("kbd", {}, "b"), ".")];
