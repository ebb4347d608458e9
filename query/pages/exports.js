// What was found, as a file: the server streams it, and the browser saves it.

import { asked, urlOf } from "./api.js";
import { h } from "./dom.js";

/** @import { State } from "./types" */

const FORMATS = /** @type {[string, string][]} */ ([["ndjson", "NDJSON, an event a line"], ["csv", "CSV, for a spreadsheet"]]);

export class Export {
  #menu = h("div", { popover: true, id: "exports", class: "menu", role: "group", "aria-label": "Export" });
  element = h("span", {}, h("button", { type: "button", class: "tab", popovertarget: "exports" }, "Export"), this.#menu);

  /** @param {State} state */
  show(state) {
    this.#menu.replaceChildren(
      h("p", { class: "note" }, "All that the query finds, however much."),
      ...FORMATS.map(([format, name]) => {
        const made = h("a", { href: urlOf("/api/v1/search", { ...asked(state), order: state.order, format }), download: `neve.${format}` }, name);
        made.addEventListener("click", () => this.#menu.hidePopover());
        return made;
      }),
    );
  }
}
