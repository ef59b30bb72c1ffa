// Exact decimals as text. Doubles place things on the chart; every text comes from here.

interface Decimal {
  mantissa: bigint;
  scale: number;
}

function parse(text: string): Decimal | null {
  const m = /^(-?)(\d+)(?:\.(\d+))?$/.exec(text);
  if (!m) return null;
  const fraction = m[3] ?? '';
  return { mantissa: BigInt(m[1] + m[2] + fraction), scale: fraction.length };
}

function render(value: Decimal): string {
  const negative = value.mantissa < 0n;
  const digits = (negative ? -value.mantissa : value.mantissa).toString().padStart(value.scale + 1, '0');
  const whole = digits.slice(0, digits.length - value.scale);
  return (negative ? '-' : '') + whole + (value.scale ? '.' + digits.slice(-value.scale) : '');
}

/** The same number with at least `decimals` decimals: zeros are added, nothing is ever rounded. */
export function padded(text: string, decimals: number): string {
  if (!/^-?\d+(\.\d+)?$/.test(text)) return text;
  const dot = text.indexOf('.');
  const have = dot < 0 ? 0 : text.length - dot - 1;
  if (have >= decimals) return text;
  return text + (dot < 0 ? '.' : '') + '0'.repeat(decimals - have);
}

/** a - b, exact. */
export function minus(a: string, b: string): string {
  const x = parse(a);
  const y = parse(b);
  if (!x || !y) return '';
  const scale = Math.max(x.scale, y.scale);
  const up = (d: Decimal) => d.mantissa * 10n ** BigInt(scale - d.scale);
  return render({ mantissa: up(x) - up(y), scale });
}

export function sign(text: string): -1 | 0 | 1 {
  if (!/[1-9]/.test(text)) return 0;
  return text.startsWith('-') ? -1 : 1;
}

export function signed(text: string): string {
  return sign(text) > 0 ? '+' + text : text.replace('-', '−');
}

/** (to - from) / from in per cent, two decimals: a derived figure, so a double will do. */
export function percent(from: string, to: string): string {
  const a = Number(from);
  if (!a) return '';
  const p = ((Number(to) - a) / a) * 100;
  return (p > 0 ? '+' : p < 0 ? '−' : '') + Math.abs(p).toFixed(2) + ' %';
}

export function decimalsOf(text: string): number {
  const dot = text.indexOf('.');
  return dot < 0 ? 0 : text.length - dot - 1;
}

/** The whole part in groups of three. */
export function grouped(text: string | number): string {
  const [whole, fraction] = String(text).split('.');
  const spaced = whole.replace(/\B(?=(\d{3})+(?!\d))/g, '\u202f');
  return fraction === undefined ? spaced : spaced + '.' + fraction;
}

/** Large figures for a glance: `1.23 M`. */
export function compact(n: number): string {
  const units: [number, string][] = [[1e12, ' T'], [1e9, ' B'], [1e6, ' M'], [1e3, ' K']];
  const [size, name] = units.find(([least]) => n >= least) ?? [1, ''];
  const value = n / size;
  return value.toFixed(value >= 100 ? 1 : value >= 1 ? 2 : 4) + name;
}
