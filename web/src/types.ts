// The JSON of docs/http.md.

export type Kind = 'trade' | 'price';
export type Coverage = 'traded' | 'quiet' | 'partial' | 'unknown';

export interface Candle {
  series: string;
  interval: string;
  open_time: number;
  close_time: number;
  open: string;
  high: string;
  low: string;
  close: string;
  volume: string;
  quote_volume: string;
  trades: number;
  taker_buy_volume: string;
  taker_buy_quote_volume: string;
  first_id: number;
  last_id: number;
  coverage: Coverage;
  covered_minutes: number;
  basis: string;
  final: boolean;
  revision: number;
  native_interval: string;
  hash: string | null;
}

export interface SeriesInfo {
  series: string;
  venue: string;
  base: string;
  quote: string;
  kind: Kind;
  last_seen: number;
  price: string;
  decimals: number;
}

export interface Latest {
  series: string;
  kind: Kind;
  price: string;
  time: number;
  base_volume_24h?: string;
  quote_volume_24h?: string;
}

export interface Why {
  candle: Candle | null;
  holes: { first_id: number; last_id: number }[];
  lane: Record<string, number | boolean | string | null> | null;
  final: string;
  text: string[];
  layout: string;
}

/** Ids that were never received. `after`, `before`: the times of what lies on both sides. */
export interface Gap {
  series: string;
  first_id: number;
  last_id: number;
  missing: number;
  after: number;
  before: number;
}

export interface LedgerRow {
  topic: string;
  partition: number;
  processor: string;
  read: number;
  used: number;
  late: number;
  duplicate: number;
  invalid: number;
  filtered: number;
  pending: number;
  balanced: boolean;
  offset: number;
  end: number;
}

export interface Ledger {
  rows: LedgerRow[];
  balanced: boolean;
}

export interface Status {
  version: string;
  uptime_ms: number;
  live: boolean;
  series: number;
  events_per_second: number;
  candles_per_second: number;
  log_bytes: number;
  tasks: { name: string; offset: number; end: number; checkpoint: number; error?: string }[];
}

export type StreamMessage =
  | { type: 'snapshot'; series: string; interval: string; kind?: Kind; candles: Candle[]; reset?: boolean; cursor?: string }
  | { type: 'open' | 'closed'; candle: Candle; kind?: Kind; cursor?: string }
  | { type: 'revised'; candle: Candle; kind?: Kind; reason: string; cursor?: string }
  | { type: 'latest'; latest: Latest[]; cursor?: string }
  | { type: 'error'; error: { code: string; message: string; at?: string } }
  | { type: 'heartbeat'; time: number };

/** What the chart shows: all that the address restores but for the visible range and the looks. */
export interface View {
  series: string;
  kind: Kind | '';
  interval: string;
  zone: string;
}

/** A visible range: fixed in time, or the newest `bars` candles. */
export type Range = { from: number; to: number } | { bars: number };
