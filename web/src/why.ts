// How one candle came to be, told by the program.
import * as api from './api';
import { padded } from './decimal';
import { byId, el } from './dom';
import { gapText } from './gaps';
import { duration, length, timeText } from './interval';
import type { Candle, Gap, View, Why } from './types';
import type { Zone } from './zone';

const MINUTE = 60_000;
const HOLES_SHOWN = 50;
const GAPS_SHOWN = 5;

function facts(rows: [string, string | number | null | undefined, string?][]): HTMLElement {
  const list = el('dl', { class: 'facts' });
  for (const [name, value, hint] of rows) {
    if (value === null || value === undefined || value === '') continue;
    list.append(el('dt', { title: hint }, name), el('dd', {}, String(value)));
  }
  return list;
}

export class WhyPanel {
  private readonly box = byId('why-content');
  private abort: AbortController | null = null;

  constructor(private zone: Zone) {}

  setZone(zone: Zone): void {
    this.zone = zone;
  }

  clear(): void {
    this.abort?.abort();
    this.box.replaceChildren(el('p', { class: 'hint' }, 'Choose a candle: click it, or focus the chart, move with ← → and press Enter.'));
  }

  /** The candle that begins at `slot`; of one longer than a minute, one of its minutes. */
  async show(view: View, slot: number, candle: Candle | undefined, decimals: number, minute = slot): Promise<void> {
    this.abort?.abort();
    const abort = (this.abort = new AbortController());
    this.box.setAttribute('aria-busy', 'true');
    const head = this.head(view, slot, candle, decimals, minute);
    try {
      const answer = await api.why(view.series, view.kind, minute, abort.signal);
      // A gap in the ids is what a missing or a partial candle is explained by.
      const gaps = answer.holes?.length || !answer.candle ? await api.gaps(view.series, view.kind, minute, minute + MINUTE, abort.signal).catch(() => []) : [];
      if (abort.signal.aborted) return;
      this.box.replaceChildren(head, ...this.answer(answer, decimals, candle, gaps));
    } catch (error) {
      if (abort.signal.aborted) return;
      const again = el('button', { type: 'button', onclick: () => void this.show(view, slot, candle, decimals, minute) }, 'Ask again');
      this.box.replaceChildren(head, el('p', { class: 'problem', role: 'alert' }, (error as Error).message), again);
    } finally {
      if (!abort.signal.aborted) this.box.removeAttribute('aria-busy');
    }
  }

  private head(view: View, slot: number, candle: Candle | undefined, decimals: number, minute: number): HTMLElement {
    const span = candle ? candle.close_time + 1 - slot : length(view.interval);
    const head = el('div', { class: 'why-head' }, el('h3', {}, `${timeText(this.zone, slot, view.interval)} · ${view.interval}`));
    if (span <= MINUTE) return head;
    const go = (to: number) => () => void this.show(view, slot, candle, decimals, to);
    const day = span > 86_400_000 ? this.zone.date(minute).slice(5) + ' ' : '';
    head.append(
      el('div', { class: 'stepper' },
        el('button', { type: 'button', disabled: minute <= slot, 'aria-label': 'Minute before', onclick: go(minute - MINUTE) }, '‹'),
        el('span', {}, `its minute ${day}${this.zone.clock(minute, false)}`),
        el('button', { type: 'button', disabled: minute + MINUTE >= slot + span, 'aria-label': 'Minute after', onclick: go(minute + MINUTE) }, '›')));
    return head;
  }

  private answer(why: Why, decimals: number, whole: Candle | undefined, gaps: Gap[]): HTMLElement[] {
    const parts: HTMLElement[] = [];
    // Its first line names series and time, as the heading does.
    const lines = (why.text ?? []).filter((line, i) => i > 0 || !/^\S+:\S+, \d{4}-/.test(line)).map((line) => this.inZone(line));
    lines.unshift(...this.explained(why, gaps));
    if (lines.length) parts.push(el('ul', { class: 'why-text' }, ...lines.map((line) => el('li', {}, line))));
    const candle = why.candle ?? whole;
    if (candle) parts.push(this.candle(candle, decimals, why.final));
    parts.push(this.holes(why));
    if (why.lane) {
      parts.push(el('h4', {}, 'The series so far'), facts(Object.entries(why.lane).map(([k, v]) => [k.replace(/_/g, ' '), this.lane(k, v)])));
    }
    if (why.layout) parts.push(el('details', {}, el('summary', {}, 'How the hash is made'), el('pre', {}, why.layout)));
    return parts;
  }

  /** Times in the program's words are UTC: here they are those of the page. */
  private inZone(line: string): string {
    return line.replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z/g, (text) => {
      const ms = Date.parse(text);
      return `${this.zone.date(ms)} ${this.zone.clock(ms)}`;
    });
  }

  private explained(why: Why, gaps: Gap[]): string[] {
    const words = gaps.slice(0, GAPS_SHOWN).map((gap) => {
      const [from, to] = [gap.after, gap.before].map((ms) => `${this.zone.date(ms)} ${this.zone.clock(ms)}`);
      return `${gapText(gap)}, between ${from} and ${to} (${duration(gap.before - gap.after)}): the source, its connection or this program did not run.`;
    });
    if (!words.length && !why.candle) words.push('No event of this minute was received, and nothing proves that none happened: it stays unknown.');
    return words;
  }

  private lane(name: string, value: unknown): string {
    return name === 'watermark' && Number(value) > 0 ? `${this.zone.date(Number(value))} ${this.zone.clock(Number(value))}` : String(value ?? '');
  }

  private candle(c: Candle, decimals: number, final: string): HTMLElement {
    const price = (text: string) => padded(text, decimals);
    return facts([
      ['open', price(c.open)],
      ['high', price(c.high)],
      ['low', price(c.low)],
      ['close', price(c.close)],
      ['volume', c.basis === 'prices' ? null : c.volume],
      ['quote volume', c.basis === 'prices' ? null : c.quote_volume],
      [c.basis === 'prices' ? 'observations' : 'trades', c.trades],
      ['first id', c.first_id >= 0 ? c.first_id : null],
      ['last id', c.last_id >= 0 ? c.last_id : null],
      ['coverage', c.coverage],
      ['basis', c.basis, 'What the candle was made from'],
      ['final', final || (c.final ? 'yes' : 'not yet'), 'proven: the ids run on; clock: the time is up'],
      ['revision', c.revision, 'How often it changed after it was closed'],
      ['hash', c.hash ?? 'none'],
    ]);
  }

  private holes(why: Why): HTMLElement {
    const holes = why.holes ?? [];
    if (!holes.length) return el('p', { class: 'hint' }, 'No hole in the ids is known here.');
    const rows = holes.slice(0, HOLES_SHOWN).map((h) =>
      el('li', {}, h.first_id === h.last_id ? `id ${h.first_id}` : `ids ${h.first_id} to ${h.last_id} (${h.last_id - h.first_id + 1})`));
    const more = holes.length > HOLES_SHOWN ? el('li', {}, `and ${holes.length - HOLES_SHOWN} more`) : null;
    return el('div', {}, el('h4', {}, 'Missing'), el('ul', { class: 'why-holes' }, ...rows, more));
  }
}
