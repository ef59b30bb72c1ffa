// Rates: events and candles a second, the log's size, how far each task is behind; and every metric.
import * as api from './api';
import { grouped } from './decimal';
import { byId, el, setText } from './dom';
import type { Status } from './types';

const HISTORY = 150; // at one each 2 s, five minutes

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

function duration(ms: number): string {
  const s = Math.floor(ms / 1000);
  const [d, h, m] = [Math.floor(s / 86400), Math.floor(s / 3600) % 24, Math.floor(s / 60) % 60];
  return d ? `${d} d ${h} h` : h ? `${h} h ${m} min` : m ? `${m} min ${s % 60} s` : `${s} s`;
}

const rate = (n: number) => (n >= 100 ? grouped(Math.round(n)) : n.toFixed(1));

export class Rates {
  private readonly events: number[] = [];
  private readonly box = byId('rates-content');
  private built = false;

  note(status: Status): void {
    this.events.push(status.events_per_second);
    if (this.events.length > HISTORY) this.events.shift();
  }

  private build(): void {
    if (this.built) return;
    this.built = true;
    const figure = (id: string, label: string) => el('div', { class: 'figure' }, el('dt', {}, label), el('dd', { id: 'rate-' + id }, '–'));
    this.box.replaceChildren(
      el('dl', { class: 'figures' }, figure('events', 'events / s'), figure('candles', 'candles / s'), figure('log', 'log'), figure('series', 'series'), figure('up', 'up for'), figure('version', 'version')),
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
    setText(byId('rate-candles'), rate(status.candles_per_second));
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
    if (byId<HTMLDetailsElement>('rate-metrics').open) await this.paintMetrics();
  }

  private line(): void {
    const canvas = byId<HTMLCanvasElement>('rate-line');
    const ratio = devicePixelRatio || 1;
    const width = (canvas.width = canvas.clientWidth * ratio);
    const height = (canvas.height = canvas.clientHeight * ratio);
    const c = canvas.getContext('2d')!;
    const most = Math.max(1, ...this.events);
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
      byId('rate-metrics-body').replaceChildren(
        ...metrics.map((m) => el('tr', {}, el('th', { scope: 'row' }, m.name, m.labels ? el('span', { class: 'venue' }, ' ' + m.labels) : null), el('td', { class: 'number' }, grouped(m.value)))),
      );
    } catch (error) {
      setText(byId('rate-problem'), (error as Error).message);
    }
  }
}
