// What an answer lacks, for people: limits that it hit, and shards that were away.

import { h } from "./dom.js";

const SHARD = "shard:";

/**
 * Nothing where the answer is complete.
 * @param {Pick<import("./types").Stats, "complete" | "limits_hit">} stats
 * @param {string} [hint] what to do about a limit
 * @returns {HTMLElement[]}
 */
export function lacking(stats, hint = "") {
  if (stats.complete) return [];
  const away = stats.limits_hit.filter((one) => one.startsWith(SHARD)).map((one) => one.slice(SHARD.length));
  const limits = stats.limits_hit.filter((one) => !one.startsWith(SHARD));
  const parts = [];
  if (away.length) parts.push(`without shard ${away.join(", ")}, which is away`);
  if (limits.length) parts.push(`limit on ${limits.join(", ")}${hint}`);
  return [h("strong", { class: "fault" }, `incomplete: ${parts.join("; ")}`)];
}
