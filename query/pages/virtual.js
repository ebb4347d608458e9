// A list of many rows, of which only those that can be seen exist. Rows may differ in height: each is measured when shown.

import { h, onceAFrame } from "./dom.js";

const BEYOND = 8; // rows made above and below what can be seen

/**
 * @typedef {object} Rows
 * @property {(index: number) => HTMLElement} make
 * @property {(index: number) => boolean} [varies] may this row differ from the usual height?
 * @property {(last: number) => void} [reached] the last row made, whenever it has changed
 */

export class VirtualList {
  #body = h("div", { class: "rows", role: "rowgroup" });
  element;
  #rows;
  #count = 0;
  #usual;
  /** @type {number[]} measured heights, where a row has another than the usual */
  #heights = [];
  /** @type {Float64Array} tops[i] is where row i begins; one more than rows */
  #tops = new Float64Array(1);
  /** @type {Map<number, HTMLElement>} */
  #made = new Map();
  #draw = onceAFrame(() => this.draw());

  /**
   * @param {HTMLElement} element scrolls
   * @param {number} usual height of a row, in pixels
   * @param {Rows} rows
   */
  constructor(element, usual, rows) {
    this.element = element;
    this.#usual = usual;
    this.#rows = rows;
    element.append(this.#body);
    element.addEventListener("scroll", this.#draw, { passive: true });
    new ResizeObserver(() => this.remake(true)).observe(element);
  }

  get count() {
    return this.#count;
  }

  /** So many rows, all of them others. @param {number} count */
  reset(count) {
    this.#count = count;
    this.#heights = [];
    this.#forget();
    this.#layout();
    this.element.scrollTop = 0;
    this.draw();
  }

  /** More rows behind those that are there. @param {number} count */
  grow(count) {
    this.#count = count;
    this.#layout();
    this.#draw();
  }

  /** The first rows are gone, and others came behind. @param {number} gone @param {number} count */
  shift(gone, count) {
    const scrolled = this.#tops[Math.min(gone, this.#count)] ?? 0;
    this.#heights.splice(0, gone);
    this.#forget();
    this.#count = count;
    this.#layout();
    if (gone) this.element.scrollTop -= scrolled;
    this.draw();
  }

  /** Make a row anew. @param {number} index */
  refresh(index) {
    this.#made.get(index)?.remove();
    this.#made.delete(index);
    delete this.#heights[index];
    this.draw();
  }

  /** Make all rows anew, in their places. @param {boolean} [resized] */
  remake(resized = false) {
    if (resized && !this.#anyVaries()) {
      this.#draw();
      return;
    }
    const at = this.indexAt(this.element.scrollTop);
    this.#heights = [];
    this.#forget();
    this.#layout();
    if (at > 0) this.element.scrollTop = this.#tops[at] ?? 0;
    this.draw();
  }

  #anyVaries() {
    return [...this.#made.keys()].some((index) => this.#rows.varies?.(index));
  }

  /** Bring a row into view. @param {number} index */
  reveal(index) {
    const top = this.#tops[index] ?? 0;
    const bottom = this.#tops[index + 1] ?? top;
    const { scrollTop, clientHeight } = this.element;
    const head = this.#body.offsetTop;
    if (top < scrollTop) this.element.scrollTop = top;
    else if (bottom + head > scrollTop + clientHeight) this.element.scrollTop = Math.min(top, bottom + head - clientHeight);
    this.draw();
  }

  scrollToEnd() {
    this.element.scrollTop = this.element.scrollHeight;
    this.draw();
  }

  get isAtEnd() {
    const { scrollTop, clientHeight, scrollHeight } = this.element;
    return scrollTop + clientHeight >= scrollHeight - this.#usual;
  }

  /** Rows that fit into what can be seen. */
  get page() {
    return Math.max(1, Math.floor(this.element.clientHeight / this.#usual) - 1);
  }

  /** The element of a row, if it exists. @param {number} index */
  at(index) {
    return this.#made.get(index);
  }

  /** The row at a height. @param {number} y */
  indexAt(y) {
    let low = 0;
    let high = Math.max(0, this.#count - 1);
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#tops[middle] ?? 0) <= y) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  #forget() {
    this.#made.clear();
    this.#body.replaceChildren();
  }

  #layout() {
    const tops = this.#tops.length === this.#count + 1 ? this.#tops : new Float64Array(this.#count + 1);
    let top = 0;
    for (let i = 0; i < this.#count; i += 1) {
      tops[i] = top;
      top += this.#heights[i] ?? this.#usual;
    }
    tops[this.#count] = top;
    this.#tops = tops;
    this.#body.style.height = `${top}px`;
  }

  /** Make what can be seen, and let go of the rest. */
  draw() {
    const { scrollTop, clientHeight } = this.element;
    const first = Math.max(0, this.indexAt(scrollTop) - BEYOND);
    const last = Math.min(this.#count - 1, this.indexAt(scrollTop + clientHeight) + BEYOND);
    for (const [index, row] of this.#made) {
      if (index < first || index > last) {
        row.remove();
        this.#made.delete(index);
      }
    }
    const added = [];
    for (let i = last; i >= first; i -= 1) { // from behind, so that each has its place before the next
      if (this.#made.has(i)) continue;
      const row = this.#rows.make(i);
      this.#made.set(i, row);
      added.push(i);
      this.#insert(row, i);
    }
    this.#measure(added, scrollTop);
    for (const [index, row] of this.#made) row.style.transform = `translateY(${this.#tops[index] ?? 0}px)`;
    if (added.length) this.#rows.reached?.(last);
  }

  /** In the order of reading, for those who hear the page. @param {HTMLElement} row @param {number} index */
  #insert(row, index) {
    const next = this.#made.get(index + 1);
    if (next) next.before(row);
    else this.#body.append(row);
  }

  /** Learn the heights of new rows; what is looked at stays where it is. @param {number[]} added @param {number} scrolled */
  #measure(added, scrolled) {
    let moved = 0;
    let changed = false;
    const varying = added.filter((index) => this.#rows.varies?.(index) ?? true);
    const heights = varying.map((index) => this.#made.get(index)?.offsetHeight ?? 0);
    varying.forEach((index, i) => {
      const before = this.#heights[index] ?? this.#usual;
      const height = heights[i] || before;
      if (height === before) return;
      this.#heights[index] = height;
      changed = true;
      if ((this.#tops[index + 1] ?? 0) <= scrolled) moved += height - before;
    });
    if (!changed) return;
    this.#layout();
    if (moved) this.element.scrollTop = scrolled + moved;
  }

  /** A row has become another height by itself. @param {number} index */
  resized(index) {
    const row = this.#made.get(index);
    if (!row) return;
    this.#heights[index] = row.offsetHeight;
    this.#layout();
    this.draw();
  }
}
