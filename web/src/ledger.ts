// The ledger: where every event went, and whether it adds up.
import * as api from './api';
import { grouped } from './decimal';
import { byId, el } from './dom';
import type { LedgerRow } from './types';

const TERMS = ['used', 'late', 'duplicate', 'invalid', 'filtered', 'pending'] as const;

function row(r: LedgerRow): HTMLElement {
  const sum = TERMS.reduce((total, term) => total + r[term], 0);
  const state = r.balanced ? el('span', { class: 'good' }, '✓ balanced') : el('span', { class: 'bad' }, `✗ off by ${grouped(r.read - sum)}`);
  const cells = TERMS.map((term) =>
    el('div', { class: 'term' + (r[term] ? '' : ' zero') }, el('dt', {}, term), el('dd', {}, grouped(r[term]))));
  return el('article', { class: 'ledger-row' + (r.balanced ? '' : ' unbalanced') },
    el('header', {}, el('h4', {}, `${r.topic}/${r.partition} → ${r.processor}`), state),
    el('dl', { class: 'terms' }, el('div', { class: 'term read' }, el('dt', {}, 'read'), el('dd', {}, grouped(r.read))), ...cells),
    el('p', { class: 'hint' }, `offset ${grouped(r.offset)} of ${grouped(r.end)}${r.end > r.offset ? `, ${grouped(r.end - r.offset)} behind` : ''}`));
}

export async function paintLedger(): Promise<void> {
  const box = byId('ledger-content');
  try {
    const ledger = await api.ledger();
    const verdict = ledger.balanced
      ? el('p', { class: 'verdict good' }, '✓ Every event is accounted for: read = used + late + duplicate + invalid + filtered + pending.')
      : el('p', { class: 'verdict bad', role: 'alert' }, '✗ The ledger does not balance: some events have no fate, or two.');
    const empty = ledger.rows.length ? null : el('p', { class: 'hint' }, 'Nothing has been read yet.');
    box.replaceChildren(verdict, ...ledger.rows.map(row), ...(empty ? [empty] : []));
  } catch (error) {
    box.replaceChildren(el('p', { class: 'problem', role: 'alert' }, (error as Error).message));
  }
}
