// Rates: events and candles a second, the log's size, how far each task is behind; and every metric.
import * as api from './api';
import { grouped } from './decimal';
import { byId, el, setText } from './dom';
import { duration } from './interval';
import type { Status } from './types';

export const STATUS_PERIOD_MS = 2000;
const HISTORY = 150; // five minutes
const CLOSED_MS = 60_000;

export interface Metric {
  name: string;
  labels: string;
  value: string;
}

/** Prometheus text: names, labels, values; help and types are left out. */
export function parseMetrics(text: string): Metric[] {
  const found: Metric[] = [];
  for (const line of text.split('\n')) {
    const m = /^([A-Za-z_:][\w:]*)(\{.*\})?\s+(\S+)/.exec(line);
    if (m) found.push({ name: m[1], labels: m[2] ?? '', value: m[3] });
  }
  return found;
}

function bytes(n: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let i = 0;
  for (; n >= 1024 && i < units.length - 1; i++) n /= 1024;
  return `${i ? n.toFixed(n < 10 ? 2 : 1) : n} ${units[i]}`;
}

const milliseconds = (s: number) => `${s < 0.01 ? (s * 1000).toFixed(1) : Math.round(s * 1000)} ms`;
const rate = (n: number) => (n >= 100 ? grouped(Math.round(n)) : n.toFixed(1));

export class Rates {
  private readonly events: number[] = [];
  private readonly box = byId('rates-content');
  private built = false;
  private before: { at: number; sums: Map<string, number> } | null = null;
  private closed: { at: number; count: number }[] = []; // of the last minute

  note(status: Status): void {
    this.events.push(status.events_per_second);
    if (this.events.length > HISTORY) this.events.shift();
  }

  private build(): void {
    if (this.built) return;
    this.built = true;
    const figure = (id: string, label: string, hint?: string) => el('div', { class: 'figure', title: hint }, el('dt', {}, label), el('dd', { id: 'rate-' + id }, '–'));
    this.box.replaceChildren(
      el('dl', { class: 'figures' }, 
        figure('events', 'events / s'), figure('closed', 'candles / min'), figure('sync', 'disk sync', 'What an acknowledgement waits for: the mean since the last look; since the start, the longest'),
        figure('requests', 'requests / s'), figure('sockets', 'live viewers'), figure('log', 'log written'),
        figure('series', 'series'), figure('up', 'up for'), figure('version', 'version')),
      el('p', { class: 'hint', id: 'rate-scale' }),
     
      el('canvas', { id: 'rate-line', role: 'img', 'aria-label': 'Events a second, last five minutes' }),
      el('table', { class: 'tasks' },
        el('thead', {}, el('tr', {}, el('th', { scope: 'col' }, 'task'), el('th', { scope: 'col', class: 'number' }, 'offset'), el('th', { scope: 'col', class: 'number' }, 'behind'), el('th', { scope: 'col', class: 'number', title: 'The offset up to which a restart need not read again' }, 'checkpoint'))),
        el('tbody', { id: 'rate-tasks' })),
      el('details', { id: 'rate-metrics' }, el('summary', {}, 'All metrics'), el('table', { class: 'metrics' }, el('tbody', { id: 'rate-metrics-body' }))),
      el('p', { class: 'problem', role: 'alert', id: 'rate-problem', hidden: true }));
  }

  async paint(status: Status | null, problem: string): Promise<void> {
    this.build();
    const failed = byId('rate-problem');
    failed.hidden = !problem;
    setText(failed, problem);
    if (!status) return;
    setText(byId('rate-events'), rate(status.events_per_second));
    setText(byId('rate-log'), bytes(status.log_bytes));
    setText(byId('rate-series'), grouped(status.series));
    setText(byId('rate-up'), duration(status.uptime_ms));
    setText(byId('rate-version'), status.version);
    byId('rate-tasks').replaceChildren(
      ...status.tasks.map((t) => {
        const behind = Math.max(0, t.end - t.offset);
        return el('tr', {}, el('th', { scope: 'row' }, t.name, t.error ? el('div', { class: 'problem' }, t.error) : null), el('td', { class: 'number' }, grouped(t.offset)), el('td', { class: 'number' + (behind > 10_000 ? ' bad' : '') }, grouped(behind)), el('td', { class: 'number' }, grouped(t.checkpoint)));
      }),
    );
    this.line();
    await this.paintMetrics();
  }

  /** What flows, from the difference to the metrics of the last look. */
  private paintFlow(metrics: Metric[]): void {
    const sums = new Map<string, number>();
    for (const m of metrics) sums.set(m.name, (sums.get(m.name) ?? 0) + Number(m.value));
    const value = (name: string) => sums.get(name) ?? 0;
    const now = Date.now();
    const before = this.before;
    this.before = { at: now, sums };
    setText(byId('rate-sockets'), grouped(value('wick_websockets')));
    this.closed = [...this.closed.filter((c) => now - c.at < CLOSED_MS), { at: now, count: value('wick_candles_closed_total') }];
    const span = now - this.closed[0].at;
    setText(byId('rate-closed'), span > CLOSED_MS * 0.9 ? grouped(Math.round(((value('wick_candles_closed_total') - this.closed[0].count) * CLOSED_MS) / span)) : '..');
    if (!before || now <= before.at) return;
    const grown = (name: string) => Math.max(0, value(name) - (before.sums.get(name) ?? 0));
    setText(byId('rate-requests'), rate((grown('wick_http_requests_total') * 1000) / (now - before.at)));
    const syncs = grown('wick_log_syncs_total');
    const most = `≤ ${milliseconds(value('wick_log_sync_seconds_max'))}`;
    setText(byId('rate-sync'), syncs ? `${milliseconds(grown('wick_log_sync_seconds_total') / syncs)}, ${most}` : most);
  }

  private line(): void {
    const canvas = byId<HTMLCanvasElement>('rate-line');
    const ratio = devicePixelRatio || 1;
    const width = (canvas.width = canvas.clientWidth * ratio);
    const height = (canvas.height = canvas.clientHeight * ratio);
    const c = canvas.getContext('2d')!;
    const most = Math.max(1, ...this.events);
    setText(byId('rate-scale'), `Events a second in the last ${duration(this.events.length * STATUS_PERIOD_MS)}, at most ${rate(most)}:`);
    c.strokeStyle = getComputedStyle(document.documentElement).getPropertyValue('--accent').trim();
    c.lineWidth = 1.5 * ratio;
    c.beginPath();
    this.events.forEach((value, i) => {
      const x = width - ((this.events.length - 1 - i) / (HISTORY - 1)) * width;
      const y = height - 2 * ratio - (value / most) * (height - 4 * ratio);
      if (i) c.lineTo(x, y);
      else c.moveTo(x, y);
    });
    c.stroke();
  }

  private async paintMetrics(): Promise<void> {
    try {
      const metrics = parseMetrics(await api.metrics());
      this.paintFlow(metrics);
      if (!byId<HTMLDetailsElement>('rate-metrics').open) return;
      byId('rate-metrics-body').replaceChildren(
        ...metrics.map((m) => el('tr', {}, el('th', { scope: 'row' }, m.name, m.labels ? el('span', { class: 'venue' }, ' ' + m.labels) : null), el('td', { class: 'number' }, grouped(m.value)))),
      );
    } catch (error) {
      setText(byId('rate-problem'), (error as Error).message);
    }
  }
}
