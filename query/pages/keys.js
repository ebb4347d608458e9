// Single keys, and the page that says them. They can be turned off: some people's voices and hands press keys unasked.

import { byId, button, h } from "./dom.js";

const OFF = "neve.keys-off";

export const KEYS = /** @type {[string, string][]} */ ([
  ["/", "to the query"],
  ["Enter", "search; in the list: open or close"],
  ["Alt ↑ ↓", "in the query: earlier ones"],
  ["Tab", "in the query: take the first suggestion"],
  ["Ctrl Space", "in the query: suggest"],
  ["j k ↓ ↑", "next, previous"],
  ["→ ←", "open, close"],
  ["Home End", "first, last"],
  ["c", "lines around"],
  ["T J F", "trace, JSON, fields of the open event"],
  ["y", "copy the open event's message"],
  ["1 … 5", "Explore, Patterns, Live, Fields, Health"],
  ["t", "time range"],
  ["z", "twice the range"],
  ["s", "show the fields"],
  ["w r u", "wrap; raw; UTC or local time"],
  ["p", "pause the live view"],
  ["?", "this help"],
]);

/** @returns {boolean} */
export function keysOff() {
  try {
    return localStorage.getItem(OFF) === "1";
  } catch {
    return false; // barred
  }
}

export function showHelp() {
  const help = byId("help", HTMLDialogElement);
  if (help.open) {
    help.close();
    return;
  }
  const off = h("input", { type: "checkbox", id: "keys-on", checked: !keysOff() });
  off.addEventListener("change", () => {
    try {
      localStorage.setItem(OFF, off.checked ? "0" : "1");
    } catch {
      // barred: it holds until the page is loaded again
    }
  });
  help.replaceChildren(
    h("h2", { id: "help-title" }, "Keys"),
    h("dl", { class: "keys" }, KEYS.flatMap(([key, does]) => [h("dt", {}, key.split(" ").flatMap((one, i) => [i ? " " : "", h("kbd", {}, one)])), h("dd", {}, does)])),
    h("p", {}, off, " ", h("label", { for: "keys-on" }, "single keys act")),
    h("p", {}, h("a", { href: "/docs" }, "The API"), " · the query language: words, \"phrases\", field:value, AND, OR, NOT, then | pipes"),
    button("Close", "Close", () => help.close()),
  );
  help.showModal();
}

/**
 * Is a key meant for what has the focus?
 * @param {KeyboardEvent} event
 */
export function isTyped(event) {
  const at = event.target;
  return at instanceof HTMLElement && (at.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(at.tagName));
}
