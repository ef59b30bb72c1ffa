// The candles of one view: a run without holes of what the program has, from somewhere in the past up to the newest or
// to where the visitor looks. Older ones are loaded at the left, newer ones at the right, changes are folded in.
import * as api from './api';
import type { Candle, Kind, View } from './types';

const FIRST = 500;
const CHUNK = 1000;
const LIMIT_MAXIMUM = 50_000;
/** More rows are never held: what lies farthest from where the visitor looks is let go, and loaded again on the way back. */
export const ROWS_MAXIMUM = 30_000;

export type Change =
  | { what: 'replaced' } // everything
  | { what: 'older'; count: number } // rows were added at the left, or let go there (negative)
  | { what: 'newer' }
  | { what: 'last' } // the last row changed, or one was added behind it
  | { what: 'inside' }; // an earlier row changed

export interface FeedHooks {
  /** Whether the visitor looks at the newest candles. */
  following(): boolean;
  changed(change: Change): void;
  busy(loading: boolean): void;
  failed(error: Error, retry: () => void): void;
}

export const kindOf = (candle: Candle): Kind => (candle.basis === 'prices' ? 'price' : 'trade');

/** Of two versions of one candle, whether the second is the later. */
function later(a: Candle, b: Candle): boolean {
  if (a.revision !== b.revision) return b.revision > a.revision;
  if (a.final !== b.final) return b.final;
  return b.trades >= a.trades;
}

export class Feed {
  rows: Candle[] = [];
  atStart = false;
  atEnd = true;
  loaded = false;

  private readonly abort = new AbortController();
  private waiting: Candle[] = []; // changes that came before the first answer
  private older = false;
  private newer = false;

  constructor(
    readonly view: View,
    private readonly hooks: FeedHooks,
  ) {}

  /** Ends with the feed. */
  get signal(): AbortSignal {
    return this.abort.signal;
  }

  close(): void {
    this.abort.abort();
  }

  private query(bounds: { from?: number; to?: number; limit: number }): Promise<Candle[]> {
    return api.candles({ ...this.view, ...bounds }, this.abort.signal);
  }

  private async guarded(work: () => Promise<void>, retry: () => void): Promise<void> {
    this.hooks.busy(true);
    try {
      await work();
    } catch (error) {
      if (!this.abort.signal.aborted) this.hooks.failed(error as Error, retry);
    } finally {
      if (!this.abort.signal.aborted) this.hooks.busy(false);
    }
  }

  private replace(rows: Candle[]): void {
    this.rows = rows;
    this.loaded = true;
    for (const candle of this.waiting.splice(0)) this.fold(candle, true);
    this.hooks.changed({ what: 'replaced' });
  }

  loadNewest(): Promise<void> {
    return this.guarded(
      async () => {
        const rows = await this.query({ limit: FIRST });
        this.atStart = rows.length < FIRST;
        this.atEnd = true;
        this.replace(rows);
      },
      () => void this.loadNewest(),
    );
  }

  /** A range in the past with some candles around it. */
  loadRange(from: number, to: number): Promise<void> {
    return this.guarded(
      async () => {
        const before = await this.query({ to: from, limit: FIRST });
        const rows = await this.query({ from, limit: CHUNK });
        this.atStart = before.length < FIRST;
        this.atEnd = rows.length < CHUNK;
        this.replace([...before, ...rows]);
        if (!this.atEnd && this.rows[this.rows.length - 1].open_time < to) await this.loadNewer();
      },
      () => void this.loadRange(from, to),
    );
  }

  async loadOlder(): Promise<void> {
    if (!this.loaded || this.older || this.atStart || !this.rows.length) return;
    this.older = true;
    await this.guarded(
      async () => {
        const rows = await this.query({ to: this.rows[0].open_time, limit: CHUNK });
        const first = this.rows[0].open_time;
        const add = rows.filter((c) => c.open_time < first);
        this.atStart = rows.length < CHUNK;
        if (!add.length) return;
        this.rows = [...add, ...this.rows];
        this.forgetNewest();
        this.hooks.changed({ what: 'older', count: add.length });
      },
      () => {
        this.atStart = false;
        void this.loadOlder();
      },
    );
    this.older = false;
  }

  async loadNewer(): Promise<void> {
    if (!this.loaded || this.newer || this.atEnd || !this.rows.length) return;
    this.newer = true;
    await this.guarded(
      async () => {
        const rows = await this.query({ from: this.rows[this.rows.length - 1].open_time, limit: CHUNK });
        this.atEnd = rows.length < CHUNK;
        for (const candle of rows) this.fold(candle, false);
        this.hooks.changed({ what: 'newer' });
        this.forgetOldest();
      },
      () => void this.loadNewer(),
    );
    this.newer = false;
  }

  /** All that is loaded, again: what was missed is not known. */
  reload(): Promise<void> {
    if (!this.loaded || !this.rows.length) return this.loadNewest();
    return this.guarded(
      async () => {
        const limit = Math.min(LIMIT_MAXIMUM, this.rows.length + CHUNK);
        const rows = await this.query({ from: this.rows[0].open_time, limit });
        this.atEnd = rows.length < limit;
        this.replace(rows);
      },
      () => void this.reload(),
    );
  }

  /** A candle from the stream. */
  apply(candle: Candle): void {
    if (!this.loaded) {
      this.waiting.push(candle);
      if (this.waiting.length > CHUNK) this.waiting.shift();
      return;
    }
    const last = this.rows[this.rows.length - 1];
    if (last && candle.open_time > last.open_time && !this.atEnd) return;
    if (!this.fits(candle)) return;
    const missed = last && candle.open_time > last.close_time + 1;
    const inside = this.fold(candle, false);
    this.hooks.changed({ what: inside ? 'inside' : 'last' });
    if (missed) this.refreshGap(last.open_time);
    if (this.rows.length <= ROWS_MAXIMUM) return;
    if (this.hooks.following()) this.forgetOldest();
    else {
      this.forgetNewest();
      this.hooks.changed({ what: 'inside' });
    }
  }

  private forgetNewest(): void {
    if (this.rows.length <= ROWS_MAXIMUM) return;
    this.rows.length = ROWS_MAXIMUM - CHUNK;
    this.atEnd = false;
  }

  private forgetOldest(): void {
    if (this.rows.length <= ROWS_MAXIMUM) return;
    const count = this.rows.length - ROWS_MAXIMUM + CHUNK;
    this.rows.splice(0, count);
    this.atStart = false;
    this.hooks.changed({ what: 'older', count: -count });
  }

  /** A candle that does not follow the last: quiet minutes, or ones that were missed. The program knows. */
  private refreshGap(from: number): void {
    this.query({ from, limit: CHUNK }).then(
      (rows) => {
        if (rows.length < 3) return;
        for (const candle of rows) this.fold(candle, true);
        this.hooks.changed({ what: 'inside' });
      },
      () => {},
    );
  }

  /** A candle that lies across others is of another time zone: on its way before the zone was changed. */
  private fits(candle: Candle): boolean {
    const at = this.search(candle.open_time);
    if (this.rows[at]?.open_time === candle.open_time) return true;
    return !(this.rows[at - 1]?.close_time >= candle.open_time) && !(this.rows[at]?.open_time <= candle.close_time);
  }

  /** Puts a candle in its place; true if that is not the end. With `compare` the later version wins. */
  private fold(candle: Candle, compare: boolean): boolean {
    const at = this.search(candle.open_time);
    const present = this.rows[at];
    if (present?.open_time === candle.open_time) {
      if (!compare || later(present, candle)) this.rows[at] = candle;
    } else {
      this.rows.splice(at, 0, candle);
    }
    return at < this.rows.length - 1;
  }

  /** The index of the first row not before `time`. */
  search(time: number): number {
    let low = 0;
    let high = this.rows.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.rows[middle].open_time < time) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  at(time: number): Candle | undefined {
    const row = this.rows[this.search(time)];
    return row?.open_time === time ? row : undefined;
  }
}
