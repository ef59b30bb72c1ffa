// The legend over the chart, the header's last price, the countdown, the document's title.
import type { Chart } from './chart';
import { grouped, minus, padded, percent, sign, signed } from './decimal';
import { byId, setText } from './dom';
import { timeText } from './interval';
import type { Candle, SeriesInfo, View } from './types';
import type { Zone } from './zone';

const FACTS = ['volume', 'trades', 'coverage', 'revision'] as const;

export class Legend {
  clockAhead = 0;

  private info: SeriesInfo | undefined;
  private view: View | null = null;
  private hovered: Candle | null = null;
  private slot: number | null = null;

  constructor(
    private readonly chart: Chart,
    private zone: Zone,
  ) {
    setInterval(() => this.countdown(), 500);
  }

  setZone(zone: Zone): void {
    this.zone = zone;
    this.refresh();
  }

  reset(info: SeriesInfo | undefined, view: View): void {
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
    this.header(last);
    const time = this.slot ?? candle?.open_time;
    setText(byId('legend-time'), time === undefined ? '' : `${timeText(this.zone, time, this.view!.interval)} ${this.zone.label(time)}`);
    for (const name of ['open', 'high', 'low', 'close'] as const) setText(byId('l-' + name), candle ? this.price(candle[name]) : '–');
    if (!candle) {
      setText(byId('l-change'), '');
      for (const name of FACTS) setText(byId('l-' + name), '');
      if (empty) setText(byId('l-coverage'), 'no candle: unknown');
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
    setText(byId('l-revision'), `rev ${c.revision}${c.final ? '' : ' · open'}`);
  }

  private header(last: Candle | undefined): void {
    const price = byId('last-price');
    setText(price, last ? this.price(last.close) : '–');
    const rows = this.chart.feed?.rows ?? [];
    const before = rows[rows.length - 2];
    const change = last && before ? minus(last.close, before.close) : '';
    setText(byId('last-change'), change ? `${signed(this.price(change))} ${percent(before.close, last!.close)}` : '');
    byId('quote').className = !change || !sign(change) ? '' : sign(change) > 0 ? 'up' : 'down';
    byId('last-change').title = `From the close of the ${this.view?.interval ?? ''} candle before`;
    document.title = last && this.info ? `${this.price(last.close)} ${this.info.base}/${this.info.quote} · Candlewick` : 'Candlewick';
  }

  private countdown(): void {
    const last = this.last;
    const left = last && this.chart.feed?.atEnd ? last.close_time + 1 - Date.now() - this.clockAhead : 0;
    if (left <= 0 || left > 864e5 * 31) return setText(byId('countdown'), '');
    const s = Math.ceil(left / 1000);
    const two = (n: number) => String(n).padStart(2, '0');
    const days = Math.floor(s / 86400);
    const text = days ? `${days} d ${two(Math.floor(s / 3600) % 24)} h` : s >= 3600 ? `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}` : `${Math.floor(s / 60)}:${two(s % 60)}`;
    setText(byId('countdown'), text);
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
