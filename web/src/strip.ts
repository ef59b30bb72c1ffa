// The coverage strip: what is known of each candle, under the chart and in step with its time scale.
import type { Chart } from './chart';
import { setText } from './dom';
import { duration, length, timeText } from './interval';
import type { Candle, Coverage } from './types';
import type { Zone } from './zone';

export const COVERAGES: Coverage[] = ['traded', 'quiet', 'partial', 'unknown'];
/** Where one pixel stands for several candles the worst is shown. */
const RANK: Record<Coverage, number> = { traded: 0, quiet: 1, partial: 2, unknown: 3 };

const MEANING: Record<Coverage, string> = {
  traded: 'traded: no known hole',
  quiet: 'quiet: proven, nothing traded',
  partial: 'partial: some of it is known to be missing',
  unknown: 'unknown: nothing proves what happened',
};

/** A place without a candle is one of which nothing is known. */
const coverageOf = (candle: Candle | undefined): Coverage => candle?.coverage ?? 'unknown';

function pattern(context: CanvasRenderingContext2D, kind: Coverage, ratio: number, color: string): CanvasPattern | string {
  if (kind === 'traded') return color;
  const size = Math.round(6 * ratio);
  const tile = document.createElement('canvas');
  tile.width = tile.height = size;
  const c = tile.getContext('2d')!;
  c.strokeStyle = c.fillStyle = color;
  c.lineWidth = 1.4 * ratio;
  c.beginPath();
  if (kind === 'quiet') {
    c.fillRect(Math.round(size * 0.2), Math.round(size * 0.35), Math.ceil(1.6 * ratio), Math.ceil(1.6 * ratio));
  } else if (kind === 'partial') {
    for (const shift of [-size, 0, size]) {
      c.moveTo(shift - 1, size + 1);
      c.lineTo(shift + size + 1, -1);
    }
  } else {
    c.moveTo(0, 0);
    c.lineTo(size, size);
    c.moveTo(size, 0);
    c.lineTo(0, size);
    c.lineWidth = 0.8 * ratio;
  }
  c.stroke();
  return context.createPattern(tile, 'repeat') ?? color;
}

export class Strip {
  private readonly context: CanvasRenderingContext2D;
  private fills: Record<Coverage, CanvasPattern | string> | null = null;
  private ratio = 0;
  private chosen: number | null = null;

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly tip: HTMLElement,
    private readonly counts: Record<Coverage, HTMLElement>,
    private readonly chart: Chart,
    private zone: Zone,
    choose: (slot: number) => void,
  ) {
    this.context = canvas.getContext('2d')!;
    canvas.addEventListener('pointermove', (event) => this.showTip(event));
    canvas.addEventListener('pointerleave', () => (this.tip.hidden = true));
    canvas.addEventListener('click', (event) => {
      const slot = this.slotAt(event);
      if (slot !== undefined) choose(this.chart.slots[slot]);
    });
  }

  setZone(zone: Zone): void {
    this.zone = zone;
  }

  /** The place that the why panel speaks of. */
  mark(slot: number | null): void {
    this.chosen = slot;
    this.draw();
  }

  applyTheme(): void {
    this.fills = null;
    this.draw();
  }

  private slotAt(event: PointerEvent | MouseEvent): number | undefined {
    const index = this.chart.indexAt(event.clientX - this.canvas.getBoundingClientRect().left);
    return index !== null && this.chart.slots[index] !== undefined ? index : undefined;
  }

  private showTip(event: PointerEvent): void {
    const index = this.slotAt(event);
    this.tip.hidden = index === undefined;
    if (index === undefined) return;
    const { interval } = this.chart.feed!.view;
    const candle = this.chart.candles[index];
    const minutes = Math.max(1, Math.round(length(interval) / 60_000));
    const covered = candle && minutes > 1 ? `, ${candle.covered_minutes} of ${minutes} minutes` : '';
    const hole = this.chart.hole(index);
    const text = candle ? MEANING[candle.coverage] + covered : `unknown: nothing was received for ${hole ? duration(hole.to - hole.from) : 'this time'}`;
    setText(this.tip, `${timeText(this.zone, this.chart.slots[index], interval)} · ${text}`);
    const box = this.canvas.getBoundingClientRect();
    const half = this.tip.offsetWidth / 2;
    const x = Math.max(half, Math.min(box.width - half, event.clientX - box.left));
    this.tip.style.left = `${x}px`;
  }

  private prepare(): { width: number; height: number } {
    const ratio = devicePixelRatio || 1;
    const width = Math.round(this.canvas.clientWidth * ratio);
    const height = Math.round(this.canvas.clientHeight * ratio);
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
    }
    if (!this.fills || this.ratio !== ratio) {
      const style = getComputedStyle(document.documentElement);
      const made = COVERAGES.map((kind) => [kind, pattern(this.context, kind, ratio, style.getPropertyValue('--' + kind).trim())]);
      this.fills = Object.fromEntries(made) as Record<Coverage, CanvasPattern | string>;
      this.ratio = ratio;
    }
    return { width, height };
  }

  draw(): void {
    const { width, height } = this.prepare();
    const { context, chart, ratio } = this;
    context.clearRect(0, 0, width, height);
    const range = chart.api.timeScale().getVisibleLogicalRange();
    const count: Record<Coverage, number> = { traded: 0, quiet: 0, partial: 0, unknown: 0 };
    if (range && chart.slots.length) {
      const first = Math.max(0, Math.ceil(range.from - 0.5));
      const last = Math.min(chart.slots.length - 1, Math.floor(range.to + 0.5));
      const half = ((chart.coordinate(first + 1) ?? 0) - (chart.coordinate(first) ?? 0)) / 2;
      const edge = chart.api.timeScale().width() * ratio;
      const left = (i: number) => Math.round(((chart.coordinate(i) ?? 0) - half) * ratio);
      const runs = this.runs(first, last, left, count);
      const gap = half * ratio > 2 ? 1 : 0;
      for (const run of runs) {
        context.fillStyle = this.fills![run.kind];
        const right = Math.min(edge, run.to);
        context.fillRect(run.from, 0, Math.max(1, right - run.from - (run.kind === 'traded' ? 0 : gap)), height);
      }
      this.drawChosen(left, half, height);
    }
    this.report(count);
  }

  /** Neighbours of one kind as one rectangle, so that patterns run through; no two in one pixel. */
  private runs(first: number, last: number, left: (i: number) => number, count: Record<Coverage, number>) {
    const runs: { kind: Coverage; from: number; to: number }[] = [];
    for (let i = first; i <= last; i++) {
      const kind = coverageOf(this.chart.candles[i]);
      count[kind]++;
      const from = left(i);
      const to = left(i + 1);
      const run = runs[runs.length - 1];
      if (run && run.kind === kind) run.to = to;
      else if (run && run.to > from && run.to - run.from <= 1) {
        if (RANK[kind] > RANK[run.kind]) run.kind = kind;
        run.to = Math.max(run.to, to);
      } else if (to > from || !run || RANK[kind] > RANK[run.kind]) runs.push({ kind, from, to: Math.max(to, from + 1) });
    }
    return runs;
  }

  private drawChosen(left: (i: number) => number, half: number, height: number): void {
    if (this.chosen === null) return;
    const index = this.chart.slots.indexOf(this.chosen);
    if (index < 0) return;
    const { context, ratio } = this;
    context.fillStyle = getComputedStyle(document.documentElement).getPropertyValue('--accent').trim();
    const width = Math.max(3 * ratio, half * 2 * ratio);
    const middle = (left(index) + left(index + 1)) / 2;
    context.fillRect(Math.round(middle - width / 2), height - Math.round(3 * ratio), Math.round(width), Math.round(3 * ratio));
  }

  private report(count: Record<Coverage, number>): void {
    for (const kind of COVERAGES) setText(this.counts[kind], String(count[kind]));
    const words = COVERAGES.map((kind) => `${count[kind]} ${kind}`).join(', ');
    this.canvas.setAttribute('aria-label', `Coverage of the visible candles: ${words}`);
  }
}
