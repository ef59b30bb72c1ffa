// The legend over the chart, the header's figures, the countdown, the document's title.
import type { Chart } from './chart';
import type { DayFigures, Reference } from './day';
import { compact, grouped, minus, padded, percent, sign, signed } from './decimal';
import { byId, setText } from './dom';
import { countdown, timeText } from './interval';
import type { Candle, SeriesInfo, View } from './types';
import type { Zone } from './zone';

const FACTS = ['volume', 'trades', 'coverage', 'revision'] as const;
const DAY = 86_400_000;
const QUARTER = 900_000;

export class Legend {
  clockAhead = 0;

  private info: SeriesInfo | undefined;
  private view: View | null = null;
  private hovered: Candle | null = null;
  private slot: number | null = null;
  private reference: Reference | null | undefined;

  constructor(
    private readonly chart: Chart,
    private zone: Zone,
    /** The newest price of the series shown, also while the chart looks at the past. */
    private readonly latest: () => string | undefined,
  ) {
    setInterval(() => this.countdown(), 500);
  }

  setZone(zone: Zone): void {
    this.zone = zone;
    this.refresh();
  }

  reset(info: SeriesInfo | undefined, view: View): void {
    if (info?.series !== this.info?.series || info?.kind !== this.info?.kind) {
      this.reference = undefined;
      this.day(null);
    }
    this.info = info;
    this.view = { ...view };
    this.hovered = null;
    this.slot = null;
    const name = info ? `${info.base}/${info.quote}` : view.series;
    setText(byId('legend-title'), `${name} · ${view.interval}${info ? ' · ' + info.venue : ''}`);
    this.refresh();
  }

  /** The candle under the crosshair; null: the newest. */
  show(candle: Candle | null, slot: number | null): void {
    this.hovered = candle;
    this.slot = slot;
    this.refresh();
    if (document.activeElement?.id === 'chart' && slot !== null) this.speak(candle, slot);
  }

  get height(): number {
    return byId('legend').offsetTop + byId('legend').offsetHeight;
  }

  private get last(): Candle | undefined {
    const rows = this.chart.feed?.rows;
    return rows?.[rows.length - 1];
  }

  private price(text: string): string {
    return padded(text, this.info?.decimals ?? 0);
  }

  refresh(): void {
    const last = this.last;
    const empty = this.slot !== null && !this.hovered;
    // The feed may have replaced the row since.
    const candle = empty ? undefined : this.hovered ? (this.chart.feed?.at(this.hovered.open_time) ?? this.hovered) : last;
    this.header();
    const time = this.slot ?? candle?.open_time;
    setText(byId('legend-time'), time === undefined ? '' : `${timeText(this.zone, time, this.view!.interval)} ${this.zone.label(time)}`);
    for (const name of ['open', 'high', 'low', 'close'] as const) setText(byId('l-' + name), candle ? this.price(candle[name]) : '–');
    if (!candle) {
      setText(byId('l-change'), '');
      for (const name of FACTS) setText(byId('l-' + name), '');
      byId('l-coverage').className = 'cover-unknown';
      if (empty) setText(byId('l-coverage'), 'unknown: nothing received');
      return;
    }
    const change = minus(candle.close, candle.open);
    const box = byId('l-change');
    setText(box, `${signed(this.price(change))} ${percent(candle.open, candle.close)}`);
    box.className = sign(change) < 0 ? 'down' : sign(change) > 0 ? 'up' : '';
    byId('legend-prices').className = 'number ' + box.className;
    this.facts(candle);
  }

  private facts(c: Candle): void {
    const prices = c.basis === 'prices';
    setText(byId('l-volume'), prices ? '' : `Vol ${grouped(c.volume)}`);
    setText(byId('l-trades'), `${grouped(c.trades)} ${prices ? (c.trades === 1 ? 'price' : 'prices') : c.trades === 1 ? 'trade' : 'trades'}`);
    setText(byId('l-coverage'), c.coverage);
    byId('l-coverage').className = c.coverage === 'traded' ? '' : 'cover-' + c.coverage;
    setText(byId('l-revision'), c.final ? (c.revision ? `rev ${c.revision}` : '') : 'open');
  }

  // --- the header ---

  /** What the price is compared with: a day ago, or the oldest within the day. */
  compareWith(reference: Reference | null | undefined): void {
    this.reference = reference;
    this.header();
  }

  header(): void {
    const atEnd = this.chart.feed?.atEnd;
    const text = (atEnd ? this.last?.close : undefined) ?? this.latest() ?? this.last?.close;
    setText(byId('last-price'), text ? this.price(text) : '–');
    const change = text && this.reference ? minus(text, this.reference.price) : '';
    const box = byId('last-change');
    setText(box, change ? `${signed(this.price(change))} ${percent(this.reference!.price, text!)}` : '');
    byId('quote').className = !change || !sign(change) ? '' : sign(change) > 0 ? 'up' : 'down';
    if (this.reference) {
      const whole = this.reference.time < Date.now() - DAY + QUARTER;
      const since = `${this.price(this.reference.price)} at ${timeText(this.zone, this.reference.time, '15m')}`;
      box.title = whole ? `In 24 hours, from ${since}` : `Since the oldest of the last 24 hours: ${since}`;
    }
    document.title = text && this.info ? `${this.price(text)} ${this.info.base}/${this.info.quote} · Candlewick` : 'Candlewick';
  }

  day(figures: DayFigures | null): void {
    setText(byId('day-high'), figures ? this.price(figures.high) : '–');
    setText(byId('day-low'), figures ? this.price(figures.low) : '–');
    const volume = byId('day-volume');
    volume.parentElement!.hidden = !figures?.volume;
    setText(volume, figures?.volume ? `${compact(figures.volume)} ${this.info?.base ?? ''}` : '–');
    volume.title = figures?.quoteVolume ? `${compact(figures.quoteVolume)} ${this.info?.quote ?? ''}` : '';
  }

  private countdown(): void {
    const last = this.last;
    const atEnd = last && this.chart.feed?.atEnd;
    this.chart.setCountdown(atEnd ? countdown(last, this.view!.interval, Date.now() + this.clockAhead) : '');
  }

  /** For who does not see the crosshair. */
  private speak(candle: Candle | null, slot: number): void {
    const when = timeText(this.zone, slot, this.view!.interval);
    const what = candle
      ? `open ${this.price(candle.open)}, high ${this.price(candle.high)}, low ${this.price(candle.low)}, close ${this.price(candle.close)}, ${candle.coverage}`
      : 'no candle';
    setText(byId('spoken'), `${when}: ${what}`);
  }
}
