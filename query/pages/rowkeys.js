// One of a list of rows is looked at: j and k, or arrows, go from one to the next.

import { isTyped } from "./keys.js";

const STEPS = /** @type {Record<string, number>} */ ({ j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 });

export class RowKeys {
  #list;
  #rows;
  #link;

  /**
   * @param {HTMLElement} list
   * @param {string} rows a selector
   * @param {string} link what in a row takes the focus
   */
  constructor(list, rows, link) {
    this.#list = list;
    this.#rows = rows;
    this.#link = link;
    // Arrows are the page's where a link or a button has the focus: here they go on.
    list.addEventListener("keydown", (event) => {
      if (event.key.startsWith("Arrow") && !isTyped(event) && this.key(event)) event.preventDefault();
    });
  }

  /** True if the key was one of these, and there are rows. @param {KeyboardEvent} event */
  key(event) {
    const step = STEPS[event.key];
    const rows = [...this.#list.querySelectorAll(this.#rows)];
    if (!step || !rows.length) return false;
    const before = rows.findIndex((row) => row.classList.contains("current"));
    const row = rows[Math.max(0, Math.min(rows.length - 1, before + step))];
    rows[before]?.classList.remove("current");
    row?.classList.add("current");
    row?.scrollIntoView({ block: "nearest" });
    /** @type {HTMLElement | null | undefined} */ (row?.querySelector(this.#link))?.focus();
    return true;
  }
}
