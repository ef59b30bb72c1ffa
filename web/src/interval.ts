// Intervals: names, lengths, and the bounds of the next candle.
import type { Zone } from './zone';

export const INTERVALS = ['1m', '5m', '15m', '30m', '1h', '4h', '12h', '1d', '1w', '1M'];
/** The key of each button, in order. */
export const INTERVAL_KEYS = ['1', '2', '3', '4', '5', '6', '7', '8', '9', '0'];
/** The usual ones besides; the address takes any. */
export const MORE_INTERVALS = ['2m', '3m', '10m', '45m', '2h', '3h', '6h', '8h', '3d', '2w', '3M', '1s', '5s', '15s', '30s'];

const UNIT: Record<string, number> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000, M: 2_629_800_000 };

export const valid = (interval: string) => /^[1-9]\d{0,4}[smhdwM]$/.test(interval);

/** Its length; of months and of days in zones with summer time the usual one. */
export function length(interval: string): number {
  return parseInt(interval, 10) * UNIT[interval.slice(-1)];
}

/** Whether each candle starts a fixed number of milliseconds behind the one before. */
export function uniform(interval: string, zone: string): boolean {
  return interval.slice(-1) !== 'M' && (length(interval) <= 3_600_000 || zone === 'UTC');
}

/** `3 h 20 min`: the two largest units. */
export function duration(ms: number): string {
  const s = Math.max(0, Math.round(ms / 1000));
  const units: [string, number][] = [['d', 86400], ['h', 3600], ['min', 60], ['s', 1]];
  const at = units.findIndex(([, size]) => s >= size);
  if (at < 0) return '< 1 s';
  const [name, size] = units[at];
  const whole = `${Math.floor(s / size)} ${name}`;
  const next = units[at + 1];
  const rest = next ? Math.floor((s % size) / next[1]) : 0;
  return rest ? `${whole} ${rest} ${next[0]}` : whole;
}

/** Until the candle that holds `now` ends, as on a clock; empty where its length varies. */
export function countdown(last: { open_time: number; close_time: number }, interval: string, now: number): string {
  const step = last.close_time + 1 - last.open_time;
  if (now < last.open_time || (now > last.close_time && interval.endsWith('M'))) return '';
  const left = step - ((now - last.open_time) % step);
  const seconds = Math.ceil(left / 1000);
  const two = (n: number) => String(n).padStart(2, '0');
  const days = Math.floor(seconds / 86400);
  if (days) return `${days}d ${two(Math.floor(seconds / 3600) % 24)}h`;
  const clock = `${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
  return seconds >= 3600 ? `${Math.floor(seconds / 3600)}:${clock}` : clock;
}

/** A candle's time in words as long as the interval needs. */
export function timeText(zone: Zone, ms: number, interval: string): string {
  const unit = interval.slice(-1);
  if (unit === 'M') return `${zone.month(ms)} ${zone.date(ms).slice(0, 4)}`;
  const day = `${zone.weekday(ms)} ${zone.date(ms)}`;
  if (unit === 'd' || unit === 'w') return day;
  return `${day} ${zone.clock(ms, unit === 's')}`;
}
