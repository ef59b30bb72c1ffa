// What is missing of the series shown: ids that never came, and stretches without candles; each with a way to its place.
import * as api from './api';
import { grouped } from './decimal';
import { byId, el } from './dom';
import { duration } from './interval';
import type { Gap, View } from './types';
import type { Zone } from './zone';

const SHOWN = 200;
const FAR_MS = 86_400_000;

export interface Stretch {
  from: number;
  to: number;
}

/** What a gap is, in words. */
export function gapText(gap: Gap): string {
  const ids = gap.missing === 1 ? `trade ${grouped(gap.first_id)}` : `${grouped(gap.missing)} trades, ids ${grouped(gap.first_id)} to ${grouped(gap.last_id)}`;
  return `${ids}: happened, but never received`;
}

export class GapsPanel {
  private readonly box = byId('gaps-content');
  private abort: AbortController | null = null;
  private shown = '';

  constructor(
    private zone: Zone,
    private readonly go: (from: number, to: number) => void,
  ) {}

  setZone(zone: Zone): void {
    this.zone = zone;
    this.shown = '';
  }

  /** `stretches`: those without candles in what is loaded. */
  async paint(view: View, trades: boolean, stretches: Stretch[]): Promise<void> {
    this.abort?.abort();
    const abort = (this.abort = new AbortController());
    if (!view.series) return;
    try {
      const gaps = trades ? await api.gaps(view.series, view.kind, undefined, undefined, abort.signal) : [];
      const key = JSON.stringify([view, this.zone.name, gaps, stretches]);
      if (key === this.shown) return; // what is read or has the focus stays as it is
      this.shown = key;
      this.box.replaceChildren(...this.content(view, trades, gaps, stretches));
    } catch (error) {
      if (abort.signal.aborted) return;
      this.shown = '';
      this.box.replaceChildren(el('p', { class: 'problem', role: 'alert' }, (error as Error).message));
    }
  }

  private content(view: View, trades: boolean, gaps: Gap[], stretches: Stretch[]): HTMLElement[] {
    const parts: HTMLElement[] = [el('h3', {}, `What is missing of ${view.series}`)];
    const total = gaps.reduce((sum, gap) => sum + gap.missing, 0);
    if (!trades) parts.push(el('p', { class: 'hint' }, 'Prices carry no ids: nothing can prove that one is missing.'));
    else if (gaps.length) parts.push(el('p', {}, `${grouped(total)} trades in ${gaps.length === 1 ? 'one gap' : `${grouped(gaps.length)} gaps`}. The exchange numbers its trades; these numbers never came.`));
    else parts.push(el('p', { class: 'good' }, '✓ No gap in the ids is known.'));
    if (gaps.length) parts.push(this.list([...gaps].reverse().map((g) => this.item(g.after, g.before, gapText(g)))));
    if (stretches.length) {
      parts.push(
        el('h4', {}, 'Nothing received'),
        el('p', { class: 'hint' }, `Stretches without any candle, in the ${view.interval} candles loaded: the source or the program did not run, or nothing happened. Where the ids prove that nothing happened, quiet candles stand instead.`),
        this.list([...stretches].reverse().map((s) => this.item(s.from, s.to, ''))),
      );
    }
    return parts;
  }

  private list(items: HTMLElement[]): HTMLElement {
    const more = items.length > SHOWN ? el('li', { class: 'hint' }, `and ${grouped(items.length - SHOWN)} older ones: wick gaps lists all`) : null;
    return el('ul', { class: 'gap-list' }, ...items.slice(0, SHOWN), more);
  }

  private item(from: number, to: number, text: string): HTMLElement {
    const when = (ms: number) => `${this.zone.date(ms).slice(5)} ${this.zone.clock(ms)}`;
    const end = to - from < FAR_MS && this.zone.date(from) === this.zone.date(to) ? this.zone.clock(to) : when(to);
    return el('li', {},
      el('button', { type: 'button', title: 'Show this place', onclick: () => this.go(from, to) },
        el('span', { class: 'gap-when number' }, `${when(from)} – ${end}`),
        el('span', { class: 'gap-long number' }, duration(to - from)),
        text ? el('span', { class: 'gap-text' }, text) : null));
  }
}
