// Levels in their order, and the name of each one's colour.

export const LEVELS = ["trace", "debug", "info", "notice", "warn", "error", "critical", "fatal"];

/** @param {string} level */
export const levelClass = (level) => (LEVELS.includes(level) ? `level-${level}` : "level-none");

/**
 * Names of groups in the order that they are stacked: levels from the worst, else the largest first.
 * @param {Record<string, number>} totals
 * @param {string} by
 */
export function stacked(totals, by) {
  const names = Object.keys(totals);
  if (by === "level") return names.sort((a, b) => LEVELS.indexOf(b) - LEVELS.indexOf(a));
  return names.sort((a, b) => (totals[b] ?? 0) - (totals[a] ?? 0) || (a < b ? -1 : 1));
}

/**
 * The class that colours a group.
 * @param {string} name
 * @param {string} by
 * @param {number} rank its place among the groups
 */
export function groupClass(name, by, rank) {
  return by === "level" ? levelClass(name) : `group-${rank < 8 ? rank : "rest"}`;
}
