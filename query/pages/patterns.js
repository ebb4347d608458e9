import { h } from "./dom.js";
export class PatternsView {
  element = h("div", {}, "patterns");
  /** @param {any} [_fail] */
  constructor(_fail) {}
  show() {}
  leave() {}
}
