// The frame: which view is shown, what all of them share, and keys that work everywhere.

import { ask } from "./api.js";
import { byId, button, h, styled } from "./dom.js";
import { Explore } from "./explore.js";
import { icon } from "./icons.js";
import { isTyped, keysOff } from "./keys.js";
import { QueryBox } from "./querybox.js";
import { RangePicker, zoomOut } from "./rangepicker.js";
import { rememberTheme, theme } from "./remembered.js";
import { address, go, onChange, read, tell } from "./state.js";

/** @import { State, View } from "./types" */

// A further view is a line here, and one in `makers`.
const VIEWS = /** @type {[string, string][]} */ ([["explore", "Explore"], ["patterns", "Patterns"], ["live", "Live"], ["fields", "Fields"], ["saved", "Saved"], ["alerts", "Alerts"], ["health", "Health"]]);
const WITHOUT_QUERY = ["saved", "alerts", "health"];

const main = byId("view", HTMLElement);
const asking = byId("ask", HTMLFormElement);
const query = new QueryBox();
const range = new RangePicker();
/** @param {import("./api.js").ApiError | null} error */
const fail = (error) => {
  query.fault = error;
};
/** How each view is made; those that not everybody looks at are fetched when they are. @type {Record<string, () => View | Promise<View>>} */
const makers = {
  explore: () => new Explore(fail),
  patterns: async () => new (await import("./patterns.js")).PatternsView(fail),
  live: async () => new (await import("./live.js")).Live(fail),
  fields: async () => new (await import("./fields.js")).Fields(fail),
  saved: async () => new (await import("./saved.js")).Saved(),
  alerts: async () => new (await import("./alerts.js")).Alerts(),
  health: async () => new (await import("./health.js")).Health(),
};
/** @type {Record<string, View>} those that were made */
const views = {};
/** @type {View | null} */
let shownView = null;
let lastQuery = /** @type {string | null} */ (null);

/** @param {State} state @param {boolean} fresh */
function show(state, fresh) {
  const name = state.view in makers ? state.view : "explore";
  const view = views[name];
  if (view !== shownView) {
    shownView?.leave();
    main.replaceChildren(...(view ? [view.element] : []));
    shownView = view ?? null;
  }
  if (state.q !== lastQuery) query.value = state.q; // else what is being typed stays
  lastQuery = state.q;
  range.show(state);
  document.title = `${state.q && !WITHOUT_QUERY.includes(name) ? `${state.q.slice(0, 80)} · ` : ""}${VIEWS.find(([one]) => one === name)?.[1]} · Neve`;
  asking.hidden = WITHOUT_QUERY.includes(name);
  document.body.dataset["view"] = name;
  navigation(name);
  tools(state);
  if (view) view.show(state, fresh);
  else make(name);
}

/** @param {string} name */
async function make(name) {
  try {
    const isKept = ["saved", "alerts"].includes(name);
    await Promise.all([name !== "explore" && styled("views.css"), isKept && styled("kept.css")]);
    views[name] = await /** @type {NonNullable<typeof makers[string]>} */ (makers[name])();
    tell();
  } catch {
    main.replaceChildren(h("p", { class: "nothing fault" }, "cannot reach the server; load the page again"));
  }
}

/** @param {string} now */
function navigation(now) {
  byId("views", HTMLElement).replaceChildren(...VIEWS.map(([name, label], i) => {
    const made = h("a", { href: address({ view: name }), "aria-current": name === now ? "page" : null, title: `${label} (${i + 1})` }, label);
    return made;
  }));
}

// Links to a state stay in the page.
document.addEventListener("click", (event) => {
  const link = event.target instanceof Element ? event.target.closest("a") : null;
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0 || link.hasAttribute("download")) return;
  const to = new URL(link.href);
  if (to.origin !== location.origin || to.pathname !== "/" || to.hash) return;
  event.preventDefault();
  history.pushState(null, "", to);
  tell();
});

// --- tools of every view -------------------------------------------------------------------------------------

/** @type {string[]} */
let namespaces = [];
/** @type {HTMLElement | null} */
let signOut = null;

/** @param {State} state */
function tools(state) {
  const zone = button("Times in UTC, or of this machine (u)", state.utc ? "UTC" : "Local", () => go({ utc: !read().utc }, { replace: true }), { class: "tab", id: "zone" });
  const names = h("select", { "aria-label": "Namespace", title: "Namespace", hidden: namespaces.length < 2 }, namespaces.map((name) => h("option", { value: name, selected: name === (state.namespace || "default") }, name)));
  names.addEventListener("change", () => go({ namespace: names.value === "default" ? "" : names.value, open: "" }));
  const focused = document.activeElement?.id;
  byId("tools", HTMLElement).replaceChildren(
    names,
    zone,
    button("Light or dark", icon("theme"), flipTheme, { class: "plain", id: "theme" }),
    button("Keys (?)", icon("help"), showHelp, { class: "plain", id: "keys" }),
    ...(signOut ? [signOut] : []),
  );
  if (focused === "zone") zone.focus();
}

async function saveSearch() {
  if (!asking.hidden) (await import("./saving.js")).saveSearch(read());
}

async function share() {
  if (!asking.hidden) (await import("./sharing.js")).share(byId("share", HTMLButtonElement), read());
}

byId("save", HTMLButtonElement).append(icon("bookmark"));
byId("save", HTMLButtonElement).addEventListener("click", saveSearch);
byId("share", HTMLButtonElement).append(icon("chain"));
byId("share", HTMLButtonElement).addEventListener("click", share);

async function showHelp() {
  (await import("./help.js")).showHelp();
}

function flipTheme() {
  const dark = theme() ? theme() === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  rememberTheme(dark ? "light" : "dark");
  useTheme();
}

function useTheme() {
  document.documentElement.dataset["theme"] = theme();
}

/** Who asks, and which namespaces there are for them. */
async function learnWho() {
  /** @type {import("./signin.js").Me} */
  let me;
  try {
    me = /** @type {import("./signin.js").Me} */ (await ask("/auth/me"));
  } catch {
    return; // what is asked for next says what is wrong
  }
  namespaces = me.namespaces ?? [];
  if (me.enabled && me.authenticated) signOut = (await import("./signin.js")).signedIn(me);
  const first = namespaces[0];
  if (first && namespaces.length > 1 && !read().namespace && !namespaces.includes("default")) go({ namespace: first }, { replace: true });
  else tools(read());
}

document.addEventListener("signedout", async () => {
  (await import("./signin.js")).signIn();
});

// --- keys ----------------------------------------------------------------------------------------------------

/** @type {Record<string, () => void>} */
const ACTS = {
  "/": () => query.focus(),
  "?": showHelp,
  t: () => range.open(),
  z: zoomOut,
  u: () => go({ utc: !read().utc }, { replace: true }),
  w: () => go({ wrap: !read().wrap }, { replace: true }),
  r: () => go({ raw: !read().raw }, { replace: true }),
  s: () => go({ side: !read().side }, { replace: true }),
  b: saveSearch,
  l: share,
};
VIEWS.forEach(([name], i) => {
  ACTS[String(i + 1)] = () => go({ view: name });
});

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || isTyped(event) || event.ctrlKey || event.metaKey || event.altKey) return;
  if (document.querySelector("dialog[open]") || document.querySelector(":popover-open")) return;
  const onButton = event.target instanceof HTMLButtonElement || event.target instanceof HTMLAnchorElement;
  const single = event.key.length === 1;
  if ((single && keysOff()) || (!single && onButton)) return;
  if (shownView?.key?.(event)) {
    event.preventDefault();
    return;
  }
  const act = ACTS[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

/** Show what the address says, or what the short link in it leads to. */
async function begin() {
  const link = new URLSearchParams(location.search).get("link");
  const wrong = link ? await (await import("./sharing.js")).follow(link) : "";
  onChange(show);
  if (wrong) {
    main.replaceChildren(h("div", { class: "nothing" }, h("p", {}, wrong), h("p", {}, h("a", { href: "/" }, "Begin anew"))));
    navigation("");
    tools(read());
  } else tell();
  if (read().view === "explore" && !location.search) query.focus();
}

useTheme();
begin();
learnWho();
