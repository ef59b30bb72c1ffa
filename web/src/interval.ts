// Intervals: names, lengths, and the bounds of the next candle.
import type { Zone } from './zone';

export const INTERVALS = ['1m', '3m', '5m', '15m', '30m', '1h', '4h', '12h', '1d', '1w', '1M'];
/** The key of each button, in order. */
export const INTERVAL_KEYS = ['1', '2', '3', '4', '5', '6', '7', '8', '9', '0', '-'];

const UNIT: Record<string, number> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000, M: 2_629_800_000 };

export const valid = (interval: string) => /^[1-9]\d{0,4}[smhdwM]$/.test(interval);

/** Its length; of months and of days in zones with summer time the usual one. */
export function length(interval: string): number {
  return parseInt(interval, 10) * UNIT[interval.slice(-1)];
}

/** Whether each candle starts a fixed number of milliseconds behind the one before. */
export function uniform(interval: string, zone: string): boolean {
  return interval.slice(-1) !== 'M' && (length(interval) <= 900_000 || zone === 'UTC');
}

/** A candle's time in words as long as the interval needs. */
export function timeText(zone: Zone, ms: number, interval: string): string {
  const unit = interval.slice(-1);
  if (unit === 'M') return `${zone.month(ms)} ${zone.date(ms).slice(0, 4)}`;
  const day = `${zone.weekday(ms)} ${zone.date(ms)}`;
  if (unit === 'd' || unit === 'w') return day;
  return `${day} ${zone.clock(ms, unit === 's')}`;
}
