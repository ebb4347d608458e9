import { h } from "./dom.js";
export class Fields {
  element = h("div", {}, "fields");
  /** @param {any} [_fail] */
  constructor(_fail) {}
  show() {}
  leave() {}
}
