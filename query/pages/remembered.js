// What this browser remembers: queries that were asked, and how the page looks. No server is told.

const QUERIES = "neve.queries";
const THEME = "neve.theme";
const MOST = 100;

/** @returns {string[]} newest first */
export function queries() {
  const found = load(QUERIES);
  return Array.isArray(found) ? found.filter((one) => typeof one === "string") : [];
}

/** @param {string} query */
export function rememberQuery(query) {
  const text = query.trim();
  if (text) save(QUERIES, [text, ...queries().filter((one) => one !== text)].slice(0, MOST));
}

/** @returns {"light" | "dark" | ""} */
export function theme() {
  const found = load(THEME);
  return found === "light" || found === "dark" ? found : "";
}

/** @param {"light" | "dark" | ""} name */
export function rememberTheme(name) {
  save(THEME, name);
}

/** @param {string} key */
function load(key) {
  try {
    return JSON.parse(localStorage.getItem(key) ?? "null");
  } catch {
    return null; // storage is barred, or holds something else: then nothing is remembered
  }
}

/** @param {string} key @param {unknown} value */
function save(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
  } catch {
    // barred or full: the page works without
  }
}
