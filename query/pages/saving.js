// Save a search under a name: its query, its range, and how it is looked at.

import { ask, asApiError, send } from "./api.js";
import { say } from "./copy.js";
import { button, h } from "./dom.js";
import { addressOf, go, texts } from "./state.js";
import { shown } from "./text.js";
import { rangeName } from "./time.js";

/** @import { SavedSearch, State } from "./types" */

const ANYONE = ["", "anyone"]; // the owner where nobody is asked who they are
const PATH = "/api/v1/saved";
/** What is kept by itself, or is of the moment. */
const APART = ["q", "from", "to", "view", "columns", "namespace", "open", "tab", "saved"];

/** All of a namespace, by name. @param {string} namespace @param {AbortSignal} [signal] @returns {Promise<SavedSearch[]>} */
export async function savedOf(namespace, signal) {
  return /** @type {{ saved: SavedSearch[] }} */ (await ask(PATH, { namespace }, signal)).saved;
}

/** @param {string} id @param {Record<string, unknown>} changes @returns {Promise<SavedSearch>} */
export const change = (id, changes) => send("PUT", `${PATH}/${encodeURIComponent(id)}`, changes);

/** @param {string} id */
export const remove = (id) => send("DELETE", `${PATH}/${encodeURIComponent(id)}`);

/** Who made something, where that is known. @param {string} owner */
export const madeBy = (owner) => (ANYONE.includes(owner) ? [] : [`by ${owner}`]);

/** A state as it is saved. @param {State} state */
function saving(state) {
  const rest = Object.entries(texts(state)).filter(([name]) => !APART.includes(name));
  const from = state.from === "all" ? "" : state.from;
  return { query: state.q, from, to: state.to, view: state.view, columns: state.columns, state: Object.fromEntries(rest) };
}

/** The address that opens a saved search. @param {SavedSearch} saved */
export function addressOfSaved({ id, namespace, query, from, to, view, columns, state }) {
  const range = { from: from || (to ? "" : "all"), to };
  const namespaced = namespace === "default" ? {} : { namespace };
  return addressOf({ ...state, ...namespaced, view, q: query, ...range, columns: columns.map(encodeURIComponent).join(","), saved: id });
}

/** Ask for a name, and save. @param {State} state */
export async function saveSearch(state) {
  if (document.getElementById("saving")) return;
  const name = h("input", { id: "saving-name", required: true, maxlength: 200, autocomplete: "off", size: 36 });
  const fault = h("p", { class: "fault", role: "alert" });
  const again = h("span", {});
  const what = h("p", { class: "note" }, state.q ? h("code", {}, shown(state.q, { limit: 300 })) : "every event", ` · ${rangeName(state.from, state.to, state.utc)} · ${state.view}, in namespace ${state.namespace || "default"}`);
  const dialog = h("dialog", { id: "saving", "aria-labelledby": "saving-title" });
  const form = h("form", {},
    h("h2", { id: "saving-title" }, "Save this search"), what,
    h("p", {}, h("label", { for: "saving-name" }, "Name "), name), fault,
    h("p", { class: "ends" }, again, h("button", { class: "main" }, "Save"), button("Cancel", "Cancel", () => dialog.close())));
  dialog.append(form);
  /** @param {() => Promise<SavedSearch>} work */
  const done = async (work) => {
    try {
      const saved = await work();
      dialog.close();
      go({ saved: saved.id }, { replace: true });
      say(`saved: ${saved.name}`);
    } catch (error) {
      const { message, hint } = asApiError(error);
      fault.replaceChildren(shown(message), hint ? " — " : "", shown(hint, { lines: true }));
    }
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    done(() => send("POST", PATH, { ...saving(state), namespace: state.namespace || "default", name: name.value.trim() }));
  });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  name.focus();
  if (!state.saved) return;
  try {
    const before = /** @type {SavedSearch} */ (await ask(`${PATH}/${encodeURIComponent(state.saved)}`));
    name.value ||= before.name;
    if (before.mine) again.append(button("Keep its name, and what it is now", [`Change `, shown(before.name, { limit: 40 })], () => done(() => change(before.id, { ...saving(state), version: before.version }))));
  } catch {
    // it is no more: this one is saved anew
  }
}
