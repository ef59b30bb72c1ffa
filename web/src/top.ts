// The bar at the top: intervals, time zone, and the keys that the help lists.
import { byId, el } from './dom';
import { INTERVAL_KEYS, INTERVALS, MORE_INTERVALS, valid } from './interval';
import type { View } from './types';
import { browserZone, EXCHANGE_ZONES, UTC, Zone } from './zone';

const KEYS: [string, string][] = [
  ['letters or /', 'search a symbol'],
  [INTERVAL_KEYS.join(' '), INTERVALS.join(' ')],
  ['← →', 'from candle to candle (Shift: ten)'],
  ['↑ ↓ + −', 'zoom'],
  ['Enter', 'how this candle came to be'],
  ['Home End', 'oldest loaded, newest'],
  ['?', 'this'],
];

function buildIntervals(use: (interval: string) => void, current: () => string): void {
  const box = byId('intervals');
  box.append(
    ...INTERVALS.map((name, i) =>
      el('button', { type: 'button', role: 'radio', 'data-interval': name, 'aria-keyshortcuts': INTERVAL_KEYS[i], title: `Key ${INTERVAL_KEYS[i]}`, onclick: () => use(name) }, name)),
  );
  box.addEventListener('keydown', (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const at = INTERVALS.indexOf(current());
    use(INTERVALS[(Math.max(0, at) + by + INTERVALS.length) % INTERVALS.length]);
    box.querySelector<HTMLElement>('[aria-checked=true]')?.focus();
  });
  const more = byId<HTMLSelectElement>('more-intervals');
  more.addEventListener('change', () => valid(more.value) && use(more.value));
}

function buildZones(view: View, use: (zone: string) => void): void {
  const select = byId<HTMLSelectElement>('zone');
  const now = Date.now();
  const option = (name: string, label: string) => el('option', { value: name }, `${label} ${new Zone(name).label(now)}`);
  const city = browserZone.split('/').pop()!.replace(/_/g, ' ');
  const others = EXCHANGE_ZONES.filter(([name]) => name !== browserZone && Zone.valid(name));
  select.append(el('option', { value: UTC }, UTC));
  if (browserZone !== UTC) select.append(el('option', { value: browserZone }, `${city} ${new Zone(browserZone).label(now)} (browser)`));
  if (![UTC, browserZone, ...others.map(([name]) => name)].includes(view.zone)) select.append(option(view.zone, view.zone));
  select.append(...others.map(([name, label]) => option(name, label)));
  select.addEventListener('change', () => use(select.value));
}

export function buildTop(view: View, hooks: { interval(name: string): void; zone(name: string): void }): void {
  buildIntervals(hooks.interval, () => view.interval);
  buildZones(view, hooks.zone);
  for (const [key, what] of KEYS) byId('help-keys').append(el('dt', {}, el('kbd', {}, key)), el('dd', {}, what));
}

export function paintIntervals(interval: string): void {
  const box = byId('intervals');
  for (const child of box.children) {
    const button = child as HTMLElement;
    const on = button.dataset.interval === interval;
    button.setAttribute('aria-checked', String(on));
    button.tabIndex = on ? 0 : -1;
    if (on && box.scrollWidth > box.clientWidth) box.scrollLeft = button.offsetLeft - box.clientWidth / 2;
  }
  const usual = INTERVALS.includes(interval);
  if (!usual) (box.firstElementChild as HTMLElement).tabIndex = 0;
  const more = byId<HTMLSelectElement>('more-intervals');
  const names = usual || MORE_INTERVALS.includes(interval) ? MORE_INTERVALS : [interval, ...MORE_INTERVALS];
  more.replaceChildren(el('option', { value: '' }, 'more'), ...names.map((name) => el('option', { value: name }, name)));
  more.value = usual ? '' : interval;
  more.classList.toggle('on', !usual);
}
