// Small drawings for buttons, so that no font has to have them.

import { s } from "./dom.js";

const PATHS = {
  plus: "M8 3v10M3 8h10",
  minus: "M3 8h10",
  column: "M2.5 3h11v10h-11zM6.5 3v10M10 3v10",
  copy: "M5.5 5.5h8v8h-8zM3 10.5H2.5v-8h8V3",
  query: "M6 3C4 3 4.500 7 2.500 8c2 1 1.500 5 3.500 5M10 3c2 0 1.500 4 3.500 5c-2 1-1.500 5-3.500 5",
  wider: "M7 12A5 5 0 1 0 7 2a5 5 0 0 0 0 10zM10.600 10.600 14 14M4.500 7h5",
  bookmark: "M4 2.500h8v11l-4-3-4 3z",
  chain: "M6.500 9.500l3-3M7 4.500l1-1a3.200 3.200 0 0 1 4.500 4.500l-1 1M9 11.500l-1 1A3.200 3.200 0 0 1 3.500 8l1-1",
  cross: "M4 4l8 8M12 4l-8 8",
  help: "M5.500 6a2.500 2.500 0 1 1 3.500 2.300C8.200 8.700 8 9 8 10M8 12.500v.3",
  theme: "M8 2a6 6 0 1 0 0 12a6 6 0 1 0 0-12zM8 3.400a4.600 4.600 0 0 1 0 9.200z",
};

/** @param {keyof typeof PATHS} name */
export function icon(name) {
  return s("svg", { class: `icon ${name}`, viewBox: "0 0 16 16", width: 14, height: 14, "aria-hidden": "true" }, s("path", { d: PATHS[name] }));
}
