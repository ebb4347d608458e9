import { h } from "./dom.js";
export class Live {
  element = h("div", {}, "live");
  /** @param {any} [_fail] */
  constructor(_fail) {}
  show() {}
  leave() {}
}
