import { h } from "./dom.js";
export class Health {
  element = h("div", {}, "health");
  /** @param {any} [_fail] */
  constructor(_fail) {}
  show() {}
  leave() {}
}
