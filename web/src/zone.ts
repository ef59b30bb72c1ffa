// Time zones: offsets from the browser's own tables, and every text that shows a time.

export const UTC = 'UTC';
export const browserZone = Intl.DateTimeFormat().resolvedOptions().timeZone || UTC;

/** Where markets are: what a trader's list holds, west to east. */
export const EXCHANGE_ZONES: [string, string][] = [
  ['America/Los_Angeles', 'Los Angeles'],
  ['America/Chicago', 'Chicago'],
  ['America/New_York', 'New York'],
  ['America/Sao_Paulo', 'São Paulo'],
  ['Europe/London', 'London'],
  ['Europe/Berlin', 'Frankfurt'],
  ['Europe/Zurich', 'Zurich'],
  ['Europe/Istanbul', 'Istanbul'],
  ['Europe/Moscow', 'Moscow'],
  ['Asia/Dubai', 'Dubai'],
  ['Asia/Kolkata', 'Mumbai'],
  ['Asia/Singapore', 'Singapore'],
  ['Asia/Hong_Kong', 'Hong Kong'],
  ['Asia/Shanghai', 'Shanghai'],
  ['Asia/Seoul', 'Seoul'],
  ['Asia/Tokyo', 'Tokyo'],
  ['Australia/Sydney', 'Sydney'],
];

const WEEKDAY = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];
const MONTH = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const QUARTER_HOUR = 900_000;
const CACHE_MAXIMUM = 50_000;

const two = (n: number) => String(n).padStart(2, '0');

export class Zone {
  private readonly format: Intl.DateTimeFormat | null;
  private readonly cache = new Map<number, number>();

  constructor(readonly name: string) {
    this.format =
      name === UTC
        ? null
        : new Intl.DateTimeFormat('en-US', {
            timeZone: name,
            hourCycle: 'h23',
            year: 'numeric',
            month: 'numeric',
            day: 'numeric',
            hour: 'numeric',
            minute: 'numeric',
            second: 'numeric',
          });
  }

  static valid(name: string): boolean {
    try {
      return Boolean(new Intl.DateTimeFormat('en-US', { timeZone: name }));
    } catch {
      return false;
    }
  }

  /** Milliseconds that local time is ahead of UTC at `ms`; every zone's changes fall on quarter hours. */
  offset(ms: number): number {
    if (!this.format) return 0;
    const quarter = Math.floor(ms / QUARTER_HOUR);
    const known = this.cache.get(quarter);
    if (known !== undefined) return known;
    const at = quarter * QUARTER_HOUR;
    const part: Record<string, number> = {};
    for (const p of this.format.formatToParts(at)) part[p.type] = Number(p.value);
    const local = Date.UTC(part.year, part.month - 1, part.day, part.hour, part.minute, part.second);
    if (this.cache.size >= CACHE_MAXIMUM) this.cache.clear();
    this.cache.set(quarter, local - at);
    return local - at;
  }

  /** A Date whose UTC getters answer in this zone. */
  local(ms: number): Date {
    return new Date(ms + this.offset(ms));
  }

  date(ms: number): string {
    const d = this.local(ms);
    return `${d.getUTCFullYear()}-${two(d.getUTCMonth() + 1)}-${two(d.getUTCDate())}`;
  }

  clock(ms: number, seconds = true): string {
    const d = this.local(ms);
    return `${two(d.getUTCHours())}:${two(d.getUTCMinutes())}` + (seconds ? ':' + two(d.getUTCSeconds()) : '');
  }

  weekday(ms: number): string {
    return WEEKDAY[this.local(ms).getUTCDay()];
  }

  month(ms: number): string {
    return MONTH[this.local(ms).getUTCMonth()];
  }

  /** `UTC+2`, at a moment. */
  label(ms: number): string {
    const minutes = Math.round(this.offset(ms) / 60_000);
    if (!minutes) return UTC;
    const rest = Math.abs(minutes) % 60;
    return `UTC${minutes < 0 ? '−' : '+'}${Math.floor(Math.abs(minutes) / 60)}${rest ? ':' + two(rest) : ''}`;
  }
}
