// The table of latest prices: sortable, filtered, live. Only the rows in sight are in the document.
import type { Catalog } from './catalog';
import type { Day } from './day';
import { padded, percent } from './decimal';
import { byId, el, perFrame, setText } from './dom';
import type { Kind, Latest } from './types';
import type { Zone } from './zone';

const ROW_HEIGHT = 26; // as in the style sheet
const SPARE = 8;
type Column = 'series' | 'price' | 'change' | 'time';

interface Entry extends Latest {
  pair: string;
  venue: string;
  key: string;
  flash: number; // 1 up, -1 down, since the last paint
}

/** Names are plain ASCII; the browser's own collation takes seconds over ten thousand. */
const compare = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);

export class Prices {
  private readonly entries = new Map<string, Entry>();
  private order: Entry[] = [];
  private readonly scroller = byId('prices-scroll');
  private readonly table = byId<HTMLTableElement>('prices-table');
  private readonly body = byId('prices-body');
  private readonly filter = byId<HTMLInputElement>('prices-filter');
  private readonly count = byId('prices-count');
  private column: Column = 'series';
  private descending = false;
  private selected = '';
  private focused = 0;
  private rows: HTMLTableRowElement[] = [];
  private readonly paintSoon = perFrame(() => this.paint());

  constructor(
    private readonly catalog: Catalog,
    private readonly day: Day,
    private zone: Zone,
    private readonly choose: (series: string, kind: Kind) => void,
  ) {
    this.filter.addEventListener('input', () => {
      this.scroller.scrollTop = 0;
      this.focused = 0;
      this.arrange();
    });
    this.scroller.addEventListener('scroll', this.paintSoon, { passive: true });
    new ResizeObserver(this.paintSoon).observe(this.scroller);
    for (const header of this.table.querySelectorAll<HTMLElement>('th')) {
      header.querySelector('button')!.addEventListener('click', () => this.sortBy(header.dataset.column as Column));
    }
    this.body.addEventListener('click', (event) => {
      const row = (event.target as Element).closest<HTMLElement>('tr[data-key]');
      if (row) this.take(row.dataset.key!);
    });
    this.body.addEventListener('keydown', (event) => this.onKey(event));
    setInterval(() => {
      if (this.column !== 'series' && !this.scroller.matches(':hover, :focus-within')) this.arrange();
    }, 5000);
    setInterval(this.paintSoon, 1000); // ages grow
  }

  setZone(zone: Zone): void {
    this.zone = zone;
    this.paintSoon();
  }

  select(series: string, kind: Kind | ''): void {
    this.selected = `${series}|${kind}`;
    this.paintSoon();
  }

  get size(): number {
    return this.entries.size;
  }

  /** The newest price of a series, in any case of letters. */
  price(series: string, kind: Kind | ''): string | undefined {
    return this.entries.get(`${series}|${kind}`)?.price;
  }

  /** What changes are counted from has come. */
  referenced(): void {
    if (this.column === 'change') this.arrange();
    else this.paintSoon();
  }

  update(latest: Latest[]): void {
    let grown = false;
    for (const item of latest) {
      const key = `${item.series}|${item.kind}`;
      const present = this.entries.get(key);
      if (!present) {
        const colon = item.series.indexOf(':');
        this.entries.set(key, { ...item, key, venue: item.series.slice(0, colon), pair: item.series.slice(colon + 1), flash: 0 });
        grown = true;
      } else {
        const change = Math.sign(Number(item.price) - Number(present.price));
        if (item.price !== present.price) present.flash = change;
        Object.assign(present, item);
      }
    }
    // A table whose rows leap while one reads it is of no use: by price or time it is put in order now and then.
    if (grown) this.arrange();
    else this.paintSoon();
  }

  private sortBy(column: Column): void {
    this.descending = this.column === column ? !this.descending : column !== 'series';
    this.column = column;
    for (const header of this.table.querySelectorAll<HTMLElement>('th')) {
      const mine = header.dataset.column === column;
      header.setAttribute('aria-sort', mine ? (this.descending ? 'descending' : 'ascending') : 'none');
    }
    this.arrange();
  }

  private arrange(): void {
    const words = this.filter.value.toUpperCase().split(/\s+/).filter(Boolean);
    const wanted = [...this.entries.values()].filter((e) => words.every((w) => `${e.series} ${e.pair.replace('/', '')} ${e.kind}`.toUpperCase().includes(w)));
    const by: Record<Column, (a: Entry, b: Entry) => number> = {
      series: (a, b) => compare(a.pair, b.pair) || compare(a.venue, b.venue) || compare(a.kind, b.kind),
      price: (a, b) => Number(a.price) - Number(b.price),
      change: (a, b) => this.change(a) - this.change(b),
      time: (a, b) => a.time - b.time,
    };
    if (this.column === 'change') this.day.want(wanted);
    wanted.sort(by[this.column]);
    if (this.descending) wanted.reverse();
    this.order = wanted;
    const all = this.entries.size;
    setText(this.count, wanted.length === all ? String(all) : `${wanted.length} of ${all}`);
    this.table.setAttribute('aria-rowcount', String(wanted.length + 1));
    this.paintSoon();
  }

  private row(): HTMLTableRowElement {
    return el('tr', { tabindex: '-1' },
      el('td', {}, el('span', { class: 'pair' }), el('abbr', { class: 'tag', title: 'Prices: quotes without trades' }, 'P'), el('span', { class: 'venue' })),
      el('td', { class: 'number' }),
      el('td', { class: 'number change' }),
      el('td', { class: 'number time' }));
  }

  private paint(): void {
    const height = this.scroller.clientHeight;
    if (!height) return;
    const first = Math.max(0, Math.floor(this.scroller.scrollTop / ROW_HEIGHT) - SPARE);
    const last = Math.min(this.order.length, first + Math.ceil(height / ROW_HEIGHT) + 2 * SPARE);
    if (!this.rows.length) this.body.replaceChildren(el('tr', { 'aria-hidden': 'true' }, el('td', { colspan: 4 })), el('tr', { 'aria-hidden': 'true' }, el('td', { colspan: 4 })));
    const [above, below] = [this.body.firstElementChild as HTMLElement, this.body.lastElementChild as HTMLElement];
    above.style.height = `${first * ROW_HEIGHT}px`;
    below.style.height = `${Math.max(0, this.order.length - last) * ROW_HEIGHT}px`;
    while (this.rows.length < last - first) {
      const row = this.row();
      this.rows.push(row);
      below.before(row);
    }
    while (this.rows.length > last - first && this.rows.length > 1) this.rows.pop()!.remove();
    this.rows.forEach((row, i) => this.fill(row, this.order[first + i], first + i));
    this.day.want(this.order.slice(first, last));
  }

  private fill(row: HTMLTableRowElement, entry: Entry | undefined, index: number): void {
    row.hidden = !entry;
    if (!entry) return;
    const moved = row.dataset.key !== entry.key;
    const [name, price, change, time] = row.cells;
    if (moved) {
      row.dataset.key = entry.key;
      row.setAttribute('aria-rowindex', String(index + 2));
      setText(name.children[0], entry.pair);
      setText(name.children[2], entry.venue);
      (name.children[1] as HTMLElement).hidden = entry.kind !== 'price';
    }
    const decimals = this.catalog.find(entry.series, entry.kind)?.decimals ?? 0;
    const text = padded(entry.price, decimals);
    setText(price, text);
    price.classList.toggle('long', text.length > 14);
    price.title = text.length > 14 ? text : '';
    this.fillChange(change, entry);
    setText(time, this.age(entry.time));
    time.title = this.clock(entry.time);
    row.setAttribute('aria-selected', String(entry.key === this.selected));
    row.tabIndex = index === this.focused ? 0 : -1;
    if (entry.flash && !moved) {
      price.classList.remove('flash-up', 'flash-down');
      void price.offsetWidth; // so that the animation starts anew
      price.classList.add(entry.flash > 0 ? 'flash-up' : 'flash-down');
    } else if (moved) price.classList.remove('flash-up', 'flash-down');
    entry.flash = 0;
  }

  /** The change in 24 hours as a number to sort by; those without one last. */
  private change(entry: Entry): number {
    const from = Number(this.day.reference(entry.key)?.price);
    return from ? Number(entry.price) / from - 1 : -2;
  }

  private fillChange(cell: HTMLElement, entry: Entry): void {
    const reference = this.day.reference(entry.key);
    const text = reference ? percent(reference.price, entry.price).replace(' ', '') : '–';
    setText(cell, text);
    cell.className = 'number change' + (text.startsWith('+') ? ' up' : text.startsWith('−') ? ' down' : '');
    cell.title = reference ? `since ${this.clock(reference.time)}` : '';
  }

  private clock(ms: number): string {
    return `${this.zone.date(ms)} ${this.zone.clock(ms)}`;
  }

  /** How long ago a price was seen, to the next unit: what is old should be seen at a glance. */
  private age(ms: number): string {
    const s = Math.max(0, Math.floor((Date.now() - ms) / 1000));
    return s < 60 ? `${s}s` : s < 3600 ? `${Math.floor(s / 60)}m` : s < 86_400 ? `${Math.floor(s / 3600)}h` : `${Math.floor(s / 86_400)}d`;
  }

  private take(key: string): void {
    const entry = this.entries.get(key);
    if (!entry) return;
    this.focused = this.order.indexOf(entry);
    this.choose(entry.series, entry.kind);
  }

  private onKey(event: KeyboardEvent): void {
    const page = Math.max(1, Math.floor(this.scroller.clientHeight / ROW_HEIGHT) - 1);
    const moves: Record<string, number> = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -this.order.length, End: this.order.length };
    if (event.key in moves) {
      event.preventDefault();
      this.focusRow(this.focused + moves[event.key]);
    } else if (event.key === 'Enter') {
      event.preventDefault();
      const entry = this.order[this.focused];
      if (entry) this.take(entry.key);
    }
  }

  private focusRow(index: number): void {
    this.focused = Math.max(0, Math.min(this.order.length - 1, index));
    const top = this.focused * ROW_HEIGHT;
    const head = this.table.tHead?.offsetHeight ?? 0;
    const { scrollTop, clientHeight } = this.scroller;
    if (top < scrollTop) this.scroller.scrollTop = top;
    else if (top + ROW_HEIGHT > scrollTop + clientHeight - head) this.scroller.scrollTop = top + ROW_HEIGHT - clientHeight + head;
    this.paint();
    this.rows.find((row) => row.tabIndex === 0)?.focus({ preventScroll: true });
  }
}
