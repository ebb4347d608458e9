// Who asks: the page itself is open, what it shows is not. A key is given once and kept where scripts cannot read it.

import { ask, asApiError, post } from "./api.js";
import { button, h } from "./dom.js";

/** @type {HTMLDialogElement | null} the one that is open */
let shown = null;

/** Ask who it is, and load the page again once that is known. */
export async function signIn() {
  if (shown) return;
  const key = h("input", { type: "password", id: "signin-key", autocomplete: "current-password", spellcheck: "false", required: true });
  const fault = h("p", { class: "fault", role: "alert" });
  const user = h("input", { type: "text", autocomplete: "username", hidden: true }); // browsers ask for one
  const form = h("form", {}, user, h("p", {}, h("label", { for: "signin-key" }, "Key "), key), h("button", { type: "submit" }, "Sign in"));
  const dialog = h("dialog", { id: "signin", "aria-labelledby": "signin-title" }, h("h2", { id: "signin-title" }, "Sign in"), form, fault);
  shown = dialog;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await post("/auth/key", { key: key.value.trim() });
      location.reload();
    } catch (error) {
      const said = asApiError(error);
      fault.textContent = said.status === 401 ? "this key is unknown, revoked or expired" : said.message;
    }
  });
  dialog.addEventListener("close", () => {
    dialog.remove();
    shown = null;
  });
  document.body.append(dialog);
  dialog.showModal();
  key.focus();
  const me = /** @type {{ login: string | null }} */ (await ask("/auth/me"));
  if (me.login) {
    const back = encodeURIComponent(location.pathname + location.search);
    form.after(h("p", {}, h("a", { href: `${me.login}?next=${back}` }, "Sign in with your account")));
  }
}

/** Who is signed in, with a way out; nothing where nobody is asked. @param {Me} me @typedef {{ enabled: boolean, authenticated: boolean, name?: string, namespaces?: string[] | null }} Me */
export function signedIn(me) {
  if (!me.enabled || !me.authenticated) return null;
  return button(`Sign out ${me.name ?? ""}`, "Sign out", async () => {
    await post("/auth/logout", {});
    location.reload();
  }, { class: "tab", id: "signout" });
}
