// One search: the form's state is the address, and log text only ever becomes text nodes.

const form = document.querySelector("#search");
const query = document.querySelector("#query");
const range = document.querySelector("#range");
const status = document.querySelector("#status");
const results = document.querySelector("#results");

function element(name, text = "", className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = className;
  return made;
}

function eventRow(event) {
  const row = element("details", "", `event ${event.level}`);
  const head = element("summary");
  head.append(element("time", event.timestamp), element("span", event.service, "service"), event.message);
  const fields = element("dl");
  const shown = { level: event.level, host: event.host, fingerprint: event.fingerprint, id: event.id, ...event.tags };
  for (const [name, value] of Object.entries(shown)) fields.append(element("dt", name), element("dd", value));
  row.append(head, fields);
  return row;
}

function table({ columns, rows }) {
  const made = element("table");
  const line = (cells, name) => {
    const row = element("tr");
    row.append(...cells.map((cell) => element(name, String(cell))));
    return row;
  };
  made.append(line(columns.map((column) => column.name), "th"), ...rows.map((row) => line(row, "td")));
  return made;
}

function complain({ message, hint }) {
  status.className = "error";
  status.textContent = hint ? `${message}\n${hint}` : message;
  results.replaceChildren();
}

async function search() {
  const parameters = new URLSearchParams({ q: query.value || "*", limit: "200" });
  if (range.value) parameters.set("from", `now-${range.value}`);
  status.className = "";
  status.textContent = "searching…";
  const answer = await fetch(`/api/v1/search?${parameters}`);
  const found = await answer.json();
  if (!answer.ok) return complain(found.error);
  const { stats } = found;
  const partial = stats.complete ? "" : ` · incomplete: ${stats.limits_hit.join(", ")}`;
  const count = found.events ? `${found.events.length}${found.next_cursor ? "+" : ""} events` : `${found.rows.length} rows`;
  status.textContent = `${count} · ${Math.round(stats.elapsed_ms)} ms · ${stats.rows_read} rows read${partial}`;
  results.replaceChildren(...(found.events ? found.events.map(eventRow) : [table(found)]));
}

function run() {
  search().catch(() => complain({ message: "cannot reach the server; try again" }));
}

function readAddress() {
  const state = new URLSearchParams(location.search);
  query.value = state.get("q") ?? "";
  range.value = state.get("range") ?? "15m";
  run();
}

form.addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  history.pushState(null, "", `?${new URLSearchParams({ q: query.value, range: range.value })}`);
  run();
});
addEventListener("popstate", readAddress);
readAddress();
