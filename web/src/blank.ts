// What stands where the chart would be when there is nothing to draw, and what to do about it.
import { byId, el } from './dom';
import type { View } from './types';

function command(text: string): HTMLElement {
  const copy = el('button', { type: 'button', class: 'copy' }, 'Copy');
  copy.addEventListener('click', () => {
    navigator.clipboard?.writeText(text).then(
      () => (copy.textContent = 'Copied'),
      () => (copy.textContent = 'Select it by hand'),
    );
  });
  return el('div', { class: 'command' }, el('pre', {}, el('code', {}, text)), copy);
}

function example(): string {
  const event = `{"baseCurrency":"BTC","quoteCurrency":"USDT","exchange":"binance","price":"50000.1","timestampInMs":'$(date +%s%3N)'}`;
  return `curl ${location.origin}/v1/prices -H 'Content-Type: application/json' -d '${event}'`;
}

let shown = '';

export function showBlank(what: 'no-series' | 'no-candles', view: View): void {
  const key = what + JSON.stringify(view);
  if (shown === key && byId('blank').childElementCount) return;
  shown = key;
  if (what === 'no-candles') {
    byId('blank').replaceChildren(el('h2', {}, 'No candles here'), el('p', {}, `${view.series} has no ${view.interval} candle yet, or none in this range.`));
    return;
  }
  byId('blank').replaceChildren(
    el('h2', {}, 'No prices yet'),
    el('p', {}, 'The store is empty. Send a price:'),
    command(example()),
    el('p', {}, 'or read a recorded file:'),
    command('wick import trades.csv.gz'),
    el('p', {}, 'or generate an hour of them:'),
    command(`wick generate price-events --count 100000 --from $(($(date +%s%3N) - 3600000)) --to ${location.origin}/v1/prices`),
    el('p', { class: 'hint' }, 'The chart appears by itself as soon as there is something to show.'),
  );
}
