// The clipboard, and a word about what was done.

import { byId } from "./dom.js";

/** @param {string} text @param {string} what */
export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    say(`${what} copied`);
  } catch {
    say(copyOldWay(text) ? `${what} copied` : "this browser does not let the page copy");
  }
}

/** Where the address is not https, the clipboard is only to be had so. @param {string} text */
function copyOldWay(text) {
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "away";
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

let timer = 0;

/** Say something for a moment. @param {string} text */
export function say(text) {
  const said = byId("said", HTMLParagraphElement);
  said.textContent = text;
  said.classList.add("there");
  clearTimeout(timer);
  timer = window.setTimeout(() => said.classList.remove("there"), 2500);
}
