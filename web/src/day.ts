// The last 24 hours: what each price is compared with, and high, low and volume of the series shown.
import * as api from './api';
import type { Candle, Kind } from './types';

const DAY = 86_400_000;
const STEP = 900_000; // of the candles asked: a quarter of an hour
const FRESH_MS = 300_000;
const CHUNK = 200;
const PAUSE_MS = 250;

export interface Reference {
  price: string; // the open of the first quarter of an hour in the last 24 hours
  time: number;
}

export interface DayFigures {
  high: string;
  low: string;
  volume: number;
  quoteVolume: number;
}

interface Entry {
  asked: number;
  reference?: Reference | null;
}

const begin = () => Math.floor(Date.now() / STEP) * STEP - DAY;

export class Day {
  private readonly entries = new Map<string, Entry>();
  private wanted = new Map<string, { series: string; kind: Kind }>();
  private busy = false;

  constructor(private readonly changed: () => void) {}

  /** Undefined: not known yet; null: nothing was seen in the last 24 hours. */
  reference(key: string): Reference | null | undefined {
    return this.entries.get(key)?.reference;
  }

  /** Asks for those not known, or not asked again for some minutes. */
  want(list: Iterable<{ key: string; series: string; kind: Kind }>): void {
    const now = Date.now();
    for (const { key, series, kind } of list) {
      if (now - (this.entries.get(key)?.asked ?? 0) > FRESH_MS) this.wanted.set(key, { series, kind });
    }
    if (this.wanted.size && !this.busy) {
      this.busy = true;
      setTimeout(() => void this.ask(), PAUSE_MS);
    }
  }

  private async ask(): Promise<void> {
    const part = [...this.wanted].slice(0, CHUNK);
    for (const [key] of part) this.wanted.delete(key);
    for (const [key] of part) this.entries.set(key, { reference: this.entries.get(key)?.reference, asked: Date.now() });
    const from = begin();
    try {
      const found = await api.candlesOfMany(part.map(([, s]) => ({ ...s, interval: '15m', from, limit: 1 })));
      part.forEach(([key], i) => {
        const candle = found[i]?.[0];
        this.entries.get(key)!.reference = candle ? { price: candle.open, time: candle.open_time } : null;
      });
      this.changed();
    } catch {
      for (const [key] of part) this.entries.get(key)!.asked = 0; // asked again when it is next wanted
    }
    this.busy = false;
    if (this.wanted.size) this.want([]);
  }

  async figures(series: string, kind: Kind | '', signal: AbortSignal): Promise<DayFigures | null> {
    const rows = await api.candles({ series, kind, interval: '15m', zone: 'UTC', from: begin(), limit: DAY / STEP + 1 }, signal);
    if (!rows.length) return null;
    const by = (name: 'high' | 'low', sign: number) =>
      rows.reduce((best: Candle, c) => ((Number(c[name]) - Number(best[name])) * sign > 0 ? c : best))[name];
    const sum = (name: 'volume' | 'quote_volume') => rows.reduce((total, c) => total + Number(c[name]), 0);
    return { high: by('high', 1), low: by('low', -1), volume: sum('volume'), quoteVolume: sum('quote_volume') };
  }
}
