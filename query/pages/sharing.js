// A state as a short link: made, copied, and followed by who has to sign in first.

import { ask, asApiError, post } from "./api.js";
import { copy } from "./copy.js";
import { button, h } from "./dom.js";
import { texts } from "./state.js";
import { shown } from "./text.js";
import { full, isRelative, moment, rangeName, rfc3339 } from "./time.js";

/** @import { ShortLink, State } from "./types" */

const PATH = "/api/v1/links";

/** Offer links to a state. @param {HTMLButtonElement} opener @param {State} state */
export function share(opener, state) {
  document.getElementById("sharing")?.remove();
  const place = h("div", { class: "made" });
  const range = state.view === "live" ? "as it arrives" : rangeName(state.from, state.to, state.utc).toLowerCase();
  const moves = state.view !== "live" && state.from !== "all" && [state.from, state.to].some(isRelative);
  const link = (/** @type {State} */ shared) => make(shared, place, state.utc);
  const menu = h("div", { popover: true, id: "sharing", class: "menu", role: "dialog", "aria-label": "Share a short link" },
    moves ? button("A link to just these events", `Link to the range as it is now`, () => link(fixed(state))) : null,
    button("A link to this view", moves ? `Link that moves on: ${range}` : "Short link to this view", () => link(state)),
    place);
  opener.after(menu);
  menu.showPopover();
  menu.querySelector("button")?.focus();
  menu.addEventListener("toggle", (event) => {
    if (/** @type {ToggleEvent} */ (event).newState !== "closed") return;
    opener.focus();
    menu.remove();
  });
}

/** The same moments, whenever it is looked at. @param {State} state @returns {State} */
function fixed(state) {
  const now = Date.now();
  const [low, high] = [moment(state.from, state.utc, now), moment(state.to, state.utc, now) ?? now];
  return low === null || Number.isNaN(low) || Number.isNaN(high) ? state : { ...state, from: rfc3339(low), to: rfc3339(high) };
}

/** @param {State} state @param {HTMLElement} place @param {boolean} utc @param {boolean} [pinned] */
async function make(state, place, utc, pinned) {
  try {
    const said = { ...texts(state), from: state.from }; // also where that is as always: it may be another some day
    const link = /** @type {ShortLink} */ (await post(PATH, { state: said, ...(pinned === undefined ? {} : { pinned }) }));
    const url = new URL(link.path, location.href).href;
    const shownUrl = h("input", { value: url, readonly: true, "aria-label": "The link", size: 34, class: "mono" });
    const keep = h("input", { type: "checkbox", id: "sharing-pin", checked: link.pinned });
    keep.addEventListener("change", () => make(state, place, utc, keep.checked));
    const ends = link.expires_at ? `ends on ${full(link.expires_at, utc, 0).slice(0, 10)}, unless it is used` : "does not end";
    place.replaceChildren(shownUrl, h("p", {}, keep, " ", h("label", { for: "sharing-pin" }, "keep for good"), h("span", { class: "note" }, ends)));
    if (pinned === undefined) {
      shownUrl.select();
      await copy(url, "short link");
    } else keep.focus();
  } catch (error) {
    const { message, hint } = asApiError(error);
    place.replaceChildren(h("p", { class: "fault", role: "alert" }, shown(message), hint ? " — " : "", shown(hint)));
  }
}

/** Go where a short link leads. Answers what is wrong with it; empty if nothing. @param {string} id */
export async function follow(id) {
  try {
    const link = /** @type {ShortLink} */ (await ask(`${PATH}/${encodeURIComponent(id)}`));
    history.replaceState(null, "", link.address);
    return "";
  } catch (error) {
    const said = asApiError(error);
    if (said.status === 401) return "Sign in to see what this short link leads to."; // then the page is loaded again
    return said.status === 404 ? "This short link is unknown, or has ended." : `${said.message}${said.hint ? ` — ${said.hint}` : ""}`;
  }
}
