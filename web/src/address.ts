// The address restores the view: #s=binance:BTC/USDT&k=trade&i=1m&tz=UTC&from=..&to=..  or  &bars=120
import { valid as validInterval } from './interval';
import type { Kind, Range, View } from './types';
import { Zone } from './zone';

export type Theme = 'auto' | 'light' | 'dark';
export type Tab = 'prices' | 'why' | 'gaps' | 'ledger' | 'rates';
export const TABS: Tab[] = ['prices', 'why', 'gaps', 'ledger', 'rates'];

export interface Address {
  view: Partial<View>;
  range: Range | null;
  theme: Theme | null;
  tab: Tab | null;
}

export function readAddress(hash = location.hash): Address {
  const p = new URLSearchParams(hash.replace(/^#/, ''));
  const view: Partial<View> = {};
  const series = p.get('s');
  if (series) view.series = series;
  const kind = p.get('k');
  if (kind === 'trade' || kind === 'price') view.kind = kind as Kind;
  const interval = p.get('i');
  if (interval && validInterval(interval)) view.interval = interval;
  const zone = p.get('tz');
  if (zone && Zone.valid(zone)) view.zone = zone;
  const number = (name: string) => (/^\d{1,15}$/.test(p.get(name) ?? '') ? Number(p.get(name)) : null);
  const from = number('from');
  const to = number('to');
  const bars = number('bars');
  const range = from !== null && to !== null && from < to ? { from, to } : bars ? { bars } : null;
  const theme = p.get('theme');
  const tab = p.get('tab') as Tab;
  return {
    view,
    range,
    theme: theme === 'light' || theme === 'dark' ? theme : null,
    tab: TABS.includes(tab) ? tab : null,
  };
}

export function addressText(view: View, range: Range | null, theme: Theme, tab: Tab): string {
  const p: [string, string][] = [];
  if (view.series) p.push(['s', view.series]);
  if (view.kind) p.push(['k', view.kind]);
  p.push(['i', view.interval], ['tz', view.zone]);
  if (range && 'from' in range) p.push(['from', String(range.from)], ['to', String(range.to)]);
  else if (range) p.push(['bars', String(range.bars)]);
  if (theme !== 'auto') p.push(['theme', theme]);
  if (tab !== 'prices') p.push(['tab', tab]);
  const escape = (text: string) => encodeURIComponent(text).replace(/%3A/g, ':').replace(/%2F/g, '/');
  return '#' + p.map(([name, value]) => `${name}=${escape(value)}`).join('&');
}
