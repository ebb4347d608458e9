// The query box: a text field over its own coloured copy, with completion, history, and errors underlined.

import { isAbort, Latest, post } from "./api.js";
import { byId, h } from "./dom.js";
import { tokenize } from "./language.js";
import { queries, rememberQuery } from "./remembered.js";
import { go, read, tell } from "./state.js";
import { shown } from "./text.js";

/** @import { ApiError } from "./api.js" */
/** @import { Offer } from "./complete.js" */

const PAUSE_MS = 250; // after the last key, before the server is asked whether a query is right

export class QueryBox {
  #input = byId("query", HTMLTextAreaElement);
  #colours = byId("colours", HTMLPreElement);
  #list = byId("suggestions", HTMLUListElement);
  #fault = byId("fault", HTMLParagraphElement);
  #checking = new Latest();
  #timer = 0;
  /** @type {Offer | null} */
  #offer = null;
  #chosen = -1;
  #asked = 0; // numbers the questions for completion: only the last one's answer is shown
  #past = -1; // how far back in history
  /** @type {[number, number] | null} what is wrong, by characters */
  #wrong = null;

  constructor() {
    const input = this.#input;
    input.addEventListener("input", () => this.#typed());
    input.addEventListener("keydown", (event) => this.#key(event));
    input.addEventListener("blur", () => this.#close());
    input.addEventListener("scroll", () => this.#colours.scrollTo(0, input.scrollTop));
    input.addEventListener("click", () => {
      if (!input.value) this.#offerHistory();
    });
    this.#list.addEventListener("pointerdown", (event) => event.preventDefault()); // keeps the focus where it is
    this.#list.addEventListener("click", (event) => {
      const item = event.target instanceof Element ? event.target.closest("li") : null;
      if (item) this.#accept([...this.#list.children].indexOf(item));
    });
    byId("ask", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
  }

  focus() {
    this.#input.focus();
    this.#input.select();
  }

  /** @param {string} query */
  set value(query) {
    if (this.#input.value !== query) this.#input.value = query;
    this.fault = null;
    this.#past = -1;
    this.#close();
  }

  /** What is wrong with the query; null for nothing. @param {ApiError | null} error */
  set fault(error) {
    this.#wrong = error?.position ? placeOf(this.#input.value, error.position) : null;
    this.#fault.hidden = !error;
    const caret = error?.hint.indexOf("\n") ?? -1; // behind it is the line with a caret, which the underline says
    const hint = caret >= 0 ? error?.hint.slice(0, caret) : error?.hint;
    this.#fault.replaceChildren(...(error ? [h("strong", {}, shown(error.message)), hint ? " — " : "", shown(hint ?? "")] : []));
    this.#input.setAttribute("aria-invalid", String(Boolean(error)));
    this.#draw();
  }

  #draw() {
    const wrong = this.#wrong;
    const spans = tokenize(this.#input.value).map((token) => {
      const made = h("span", { class: token.type });
      if (wrong && token.start < wrong[1] && token.end > wrong[0] && token.type !== "space") made.classList.add("wrong");
      made.textContent = token.text;
      return made;
    });
    const ends = wrong && wrong[0] >= this.#input.value.length ? [h("span", { class: "wrong" }, " ")] : [];
    this.#colours.replaceChildren(...spans, ...ends, "\n");
    this.#input.style.height = "auto";
    this.#input.style.height = `${Math.min(this.#input.scrollHeight, 160)}px`;
  }

  #typed() {
    this.#wrong = null;
    this.#past = -1;
    this.#fault.hidden = true;
    this.#draw();
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => this.#check(), PAUSE_MS);
    this.#offerAtCaret();
  }

  async #check() {
    const q = this.#input.value;
    try {
      await post("/api/v1/explain", { q, namespace: read().namespace }, this.#checking.next());
    } catch (error) {
      const said = /** @type {ApiError} */ (error);
      if (!isAbort(error) && said.position && this.#input.value === q && document.activeElement === this.#input) this.fault = said;
    }
  }

  #submit() {
    clearTimeout(this.#timer);
    this.#checking.stop();
    this.#close();
    const q = this.#input.value.trim();
    rememberQuery(q);
    if (q === read().q) tell(true);
    else go({ q, open: "" });
  }

  // --- keys --------------------------------------------------------------------------------------------------

  /** @param {KeyboardEvent} event */
  #key(event) {
    const open = this.#offer !== null;
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      if (open && this.#chosen >= 0) this.#accept(this.#chosen);
      else this.#submit();
    } else if (event.altKey && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
      event.preventDefault();
      this.#goBack(event.key === "ArrowUp" ? 1 : -1);
    } else if (event.key === " " && event.ctrlKey) {
      event.preventDefault();
      this.#offerAtCaret();
    } else if (open && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
      event.preventDefault();
      this.#choose(this.#chosen + (event.key === "ArrowDown" ? 1 : -1));
    } else if (open && event.key === "Tab" && !event.shiftKey && this.#offer?.items.length) {
      event.preventDefault();
      this.#accept(Math.max(0, this.#chosen));
    } else if (event.key === "Escape") {
      if (open) this.#close();
      else this.#input.blur();
      event.stopPropagation();
    } else if ((event.key === "ArrowUp" || event.key === "ArrowDown") && !this.#input.value) {
      this.#offerHistory();
    }
  }

  /** @param {number} steps */
  #goBack(steps) {
    const past = queries();
    this.#past = Math.max(-1, Math.min(past.length - 1, this.#past + steps));
    this.#input.value = past[this.#past] ?? "";
    this.#wrong = null;
    this.#close();
    this.#draw();
  }

  // --- completion --------------------------------------------------------------------------------------------

  async #offerAtCaret() {
    const number = ++this.#asked;
    const { value, selectionStart } = this.#input;
    if (!value) {
      this.#offerHistory();
      return;
    }
    try {
      const { offer } = await import("./complete.js"); // not before somebody types
      const found = await offer(value, selectionStart, read());
      if (number === this.#asked && document.activeElement === this.#input) this.#show(found);
    } catch {
      this.#close(); // without an answer there is nothing to offer; the search itself will say why
    }
  }

  #offerHistory() {
    const items = queries().slice(0, 10).map((text) => ({ text, shown: text, note: "" }));
    this.#asked += 1;
    this.#show({ start: 0, end: this.#input.value.length, items });
  }

  /** @param {Offer} found */
  #show(found) {
    if (!found.items.length) {
      this.#close();
      return;
    }
    this.#offer = found;
    this.#chosen = -1;
    this.#list.replaceChildren(
      ...found.items.map((item, i) => h("li", { role: "option", id: `suggestion-${i}`, "aria-selected": "false" }, h("span", {}, shown(item.shown)), h("small", {}, item.note))),
    );
    this.#list.hidden = false;
    this.#input.setAttribute("aria-expanded", "true");
  }

  #close() {
    this.#asked += 1;
    this.#offer = null;
    this.#list.hidden = true;
    this.#input.setAttribute("aria-expanded", "false");
    this.#input.removeAttribute("aria-activedescendant");
  }

  /** @param {number} index */
  #choose(index) {
    const items = [...this.#list.children];
    this.#chosen = index < -1 ? items.length - 1 : index >= items.length ? -1 : index;
    items.forEach((item, i) => item.setAttribute("aria-selected", String(i === this.#chosen)));
    const now = items[this.#chosen];
    now?.scrollIntoView({ block: "nearest" });
    if (now) this.#input.setAttribute("aria-activedescendant", now.id);
    else this.#input.removeAttribute("aria-activedescendant");
  }

  /** @param {number} index */
  #accept(index) {
    const found = this.#offer;
    const item = found?.items[index];
    if (!found || !item) return;
    this.#input.setRangeText(item.text, found.start, found.end, "end");
    this.#close();
    this.#draw();
    if (item.text.endsWith(":")) this.#offerAtCaret();
  }
}

/**
 * A place that the API names, as characters of the text: the term that begins there, or what is behind the end.
 * @param {string} text
 * @param {{ line: number, column: number }} position
 * @returns {[number, number]}
 */
function placeOf(text, { line, column }) {
  const lines = text.split("\n");
  const before = lines.slice(0, line - 1).reduce((sum, one) => sum + one.length + 1, 0);
  const at = before + [...(lines[line - 1] ?? "")].slice(0, column - 1).join("").length;
  const behind = tokenize(text).filter((one) => one.end > at);
  const space = behind.findIndex((one) => one.type === "space");
  const last = space < 0 ? behind.at(-1) : behind[space - 1];
  return [at, Math.max(at + 1, last?.end ?? 0)];
}
