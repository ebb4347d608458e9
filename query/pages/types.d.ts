// What the API answers, as the page uses it. Not served.

export interface LogEvent {
  id: string;
  timestamp: string;
  level: string;
  service: string;
  host: string;
  message: string;
  fingerprint: string;
  trace_id: string;
  span_id: string;
  tags: Record<string, string>;
  tier: string;
  message_base64?: string;
  /** it came with some of its tags alone */
  lean?: boolean;
}

export interface Stats {
  complete: boolean;
  tiers: string[];
  /** null for who may not see all events, as what else there is */
  rows_read: number | null;
  bytes_read: number | null;
  elapsed_ms: number;
  limits_hit: string[];
}

export interface Found {
  events?: LogEvent[];
  next_cursor?: string | null;
  columns?: { name: string; type: string; approximate?: boolean }[];
  rows?: unknown[][];
  stats: Stats;
}

export interface Bucket {
  start: string;
  count: number;
  groups?: Record<string, number>;
}

export interface Histogram {
  buckets: Bucket[];
  interval_ms: number | null;
  stats: Stats;
}

export interface Field {
  name: string;
  kind: string;
  type: string;
  count: number;
}

export interface Values {
  field: string;
  values: { value: string; count: number }[];
  events: number;
  distinct: number;
}

export interface Pattern {
  fingerprint: string;
  name: string | null;
  template: string;
  count: number;
  share: number;
  sample: string;
  first_seen: string;
  last_seen: string;
  services: string[];
  previous_count: number | null;
  sparkline?: number[];
}

export interface Patterns {
  patterns: Pattern[];
  total_events: number;
  total_patterns: number;
  sparkline?: { start: string; interval_ms: number } | null;
  stats: Stats;
}

export interface Change extends Pattern {
  change: "new" | "gone" | "grown" | "shrunk" | "same";
  previous_count: number;
  previous_share: number;
  previous_sparkline?: number[];
}

export interface Changes {
  patterns: Change[];
  counts: Record<string, number>;
  total_events: number;
  previous_total_events: number;
  sparkline?: { start: string; interval_ms: number } | null;
  stats: Stats;
}

export interface Difference {
  field: string;
  value: string;
  count: number;
  share: number;
  other_count: number;
  other_share: number;
}

export interface Differences {
  differences: Difference[];
  total_events: number;
  other_events: number;
  stats: Stats;
}

export interface Context {
  events: LogEvent[];
  index: number;
  stats: Stats;
}

/** What the address says. Every view is made of it alone. */
export interface State {
  view: string;
  q: string;
  from: string;
  to: string;
  namespace: string;
  order: string;
  by: string;
  columns: string[];
  facets: string[];
  side: boolean;
  wrap: boolean;
  raw: boolean;
  utc: boolean;
  open: string;
  /** What is shown of the open event. */
  tab: string;
  /** The column that a table is sorted by, with `-` from the largest. */
  sort: string;
  compare: string;
  compareFrom: string;
  compareTo: string;
  show: string;
  other: string;
  mark: string;
  /** The id of the saved search that this began as. */
  saved: string;
}

export interface SavedSearch {
  id: string;
  namespace: string;
  name: string;
  query: string;
  from: string;
  to: string;
  view: string;
  columns: string[];
  state: Record<string, string>;
  owner: string;
  mine: boolean;
  version: number;
  created_at: string;
  updated_at: string;
  alerts: number;
}

export interface ShortLink {
  id: string;
  path: string;
  address: string;
  namespace: string;
  pinned: boolean;
  expires_at: string | null;
}

export interface Webhook {
  id?: string;
  url?: string;
  format: string;
  signed?: boolean;
  secret?: string | null;
}

export interface AlertGroup {
  group: string;
  state: string;
  since: string;
  value: number | null;
  template: string | null;
  sample: string | null;
  told: string | null;
  told_at: string | null;
}

export interface AlertState {
  state: string;
  since: string | null;
  reason: string;
  evaluated_at: string | null;
  window: { from: string; to: string } | null;
  late: boolean;
  late_events: number;
  groups: AlertGroup[];
  groups_in_all: number;
  waiting: number;
  /** Notifications that nobody took, and that were given up. */
  dropped: number;
  muted: boolean;
}

export interface Alert {
  id: string;
  namespace: string;
  name: string;
  enabled: boolean;
  saved: string | null;
  query: string | null;
  kind: string;
  op: string | null;
  threshold: number | null;
  by: string | null;
  window: string;
  every: string;
  delay: string;
  for: string;
  lookback: string | null;
  repeat: string;
  on_unknown: string;
  tell_resolved: boolean;
  note: string;
  labels: Record<string, string>;
  webhooks: Webhook[];
  muted_until: string | null;
  mute_reason: string;
  owner: string;
  version: number;
  may_change: boolean;
  state: AlertState;
}

export interface Delivery {
  id: string;
  at: string;
  webhook: string;
  url: string;
  kind: string;
  groups: number;
  attempt: number;
  status: number | null;
  error: string;
  ms: number | null;
  delivered: boolean;
  next_at: string | null;
}

export interface View {
  element: HTMLElement;
  /** Show a state: called whenever the address changes while the view is the one shown. `fresh`: ask again. */
  show(state: State, fresh: boolean): void;
  /** The view is left: stop what runs. */
  leave(): void;
  /** A key that nobody else took. True if it was for this view. */
  key?(event: KeyboardEvent): boolean;
}
