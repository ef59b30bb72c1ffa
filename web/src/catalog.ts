// The series that the program knows, and the search over them.
import * as api from './api';
import type { Kind, SeriesInfo } from './types';

const REFRESH_MS = 5000;

/** Letters of `text` in order within `name`; the fewer and the later the leaps, the better. Negative: no match. */
function score(name: string, text: string): number {
  const whole = name.indexOf(text);
  if (whole >= 0) return 1000 - whole * 2 - (name.length - text.length);
  let at = 0;
  let points = 400;
  for (const letter of text) {
    const next = name.indexOf(letter, at);
    if (next < 0) return -1;
    points -= Math.min(40, next - at) * 4;
    at = next + 1;
  }
  return Math.max(0, points - name.length);
}

/** Of pairs that match alike, those in dollars come first. */
const DOLLARS = ['USDT', 'USD', 'USDC'];
export const quoteRank = (s: SeriesInfo) => (DOLLARS.indexOf(s.quote) + 1 || DOLLARS.length + 1);

export class Catalog {
  all: SeriesInfo[] = [];
  loaded = false;
  private readonly byKey = new Map<string, SeriesInfo>();
  private asked = 0;
  private pending: Promise<void> | null = null;

  refresh(): Promise<void> {
    this.pending ??= api
      .series()
      .then((all) => {
        this.all = all;
        this.loaded = true;
        this.byKey.clear();
        for (const s of all) this.byKey.set(this.key(s.series, s.kind), s);
      })
      .finally(() => {
        this.pending = null;
        this.asked = Date.now();
      });
    return this.pending;
  }

  /** Asks again for a series not known yet; not more often than each 5 s. */
  async refreshSoon(): Promise<void> {
    if (Date.now() - this.asked > REFRESH_MS) await this.refresh();
  }

  private key = (series: string, kind: string) => `${series.toUpperCase()}|${kind}`;

  /** By name in any case; without a kind trades, if there are any. */
  find(series: string, kind: Kind | ''): SeriesInfo | undefined {
    const known = kind ? this.byKey.get(this.key(series, kind)) : undefined;
    return known ?? this.byKey.get(this.key(series, 'trade')) ?? this.byKey.get(this.key(series, 'price'));
  }

  search(text: string, maximum: number): { found: SeriesInfo[]; more: number } {
    const words = text.toUpperCase().split(/\s+/).filter(Boolean);
    const ranked: { series: SeriesInfo; points: number }[] = [];
    for (const series of this.all) {
      const name = series.series.toUpperCase();
      const bare = `${series.base}${series.quote}`.toUpperCase();
      let points = 0;
      for (const word of words) {
        const best = Math.max(score(name, word), score(bare, word), score(series.base.toUpperCase(), word));
        points = best < 0 ? -1 : points + best;
        if (points < 0) break;
      }
      if (points >= 0) ranked.push({ series, points });
    }
    ranked.sort((a, b) => b.points - a.points || quoteRank(a.series) - quoteRank(b.series) || a.series.series.localeCompare(b.series.series) || a.series.kind.localeCompare(b.series.kind));
    return { found: ranked.slice(0, maximum).map((r) => r.series), more: Math.max(0, ranked.length - maximum) };
  }
}
