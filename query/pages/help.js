// What the keys do, for who asks.

import { byId, button, h } from "./dom.js";
import { keysOff, turnKeys } from "./keys.js";

const KEYS = /** @type {[string, string][]} */ ([
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
  ["1 … 7", "Explore, Patterns, Live, Fields, Saved, Alerts, Health"],
  ["n", "in Alerts: a new one"],
  ["b l", "save this search; share a short link"],
  ["t", "time range"],
  ["z", "twice the range"],
  ["s", "show the fields"],
  ["w r u", "wrap; raw; UTC or local time"],
  ["p", "pause the live view"],
  ["?", "this help"],
]);

export function showHelp() {
  const help = byId("help", HTMLDialogElement);
  if (help.open) {
    help.close();
    return;
  }
  const off = h("input", { type: "checkbox", id: "keys-on", checked: !keysOff() });
  off.addEventListener("change", () => {
    turnKeys(!off.checked);
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
