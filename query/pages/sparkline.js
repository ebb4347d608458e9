// A few counts as a small drawing, without axes: the shape is what counts.

import { s } from "./dom.js";

const HEIGHT = 20;

/**
 * Bars of two ranges on one scale, one behind the other; the earlier one is paler.
 * @param {number[]} before
 * @param {number[]} now
 * @param {string} label what it says, for those who do not see it
 */
export function sparkline(before, now, label) {
  const all = [...before, ...now];
  const most = Math.max(1, ...all);
  const path = (/** @type {number[]} */ counts, /** @type {number} */ from) => counts.map((n, i) => (n ? `M${from + i} ${HEIGHT}v-${Math.max(1, (n / most) * HEIGHT).toFixed(1)}h.8V${HEIGHT}z` : "")).join("");
  return s(
    "svg",
    { class: "sparkline", viewBox: `0 0 ${Math.max(1, all.length)} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
    before.length ? s("path", { d: path(before, 0), class: "before" }) : null,
    s("path", { d: path(now, before.length), class: "now" }),
  );
}
