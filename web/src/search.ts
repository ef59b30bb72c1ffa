// Symbol search: opened by typing anywhere; arrows, Enter, Escape.
import type { Catalog } from './catalog';
import { byId, el, setText } from './dom';
import { padded } from './decimal';
import type { SeriesInfo } from './types';

const SHOWN = 60;

export class Search {
  private readonly dialog = byId<HTMLDialogElement>('search');
  private readonly input = byId<HTMLInputElement>('search-input');
  private readonly list = byId('search-list');
  private readonly note = byId('search-note');
  private found: SeriesInfo[] = [];
  private active = 0;

  constructor(
    private readonly catalog: Catalog,
    private readonly choose: (series: SeriesInfo) => void,
  ) {
    this.input.addEventListener('input', () => this.update());
    this.input.addEventListener('keydown', (event) => this.onKey(event));
    this.dialog.addEventListener('click', (event) => {
      if (event.target === this.dialog) this.dialog.close();
    });
    this.list.addEventListener('click', (event) => {
      const option = (event.target as Element).closest<HTMLElement>('[role=option]');
      if (option) this.take(Number(option.dataset.index));
    });
  }

  get isOpen(): boolean {
    return this.dialog.open;
  }

  open(text = ''): void {
    if (this.isOpen) return;
    this.input.value = text;
    this.dialog.showModal();
    this.input.focus();
    this.input.setSelectionRange(text.length, text.length);
    this.update();
    this.catalog.refreshSoon().then(() => this.isOpen && this.update(), () => {});
  }

  private onKey(event: KeyboardEvent): void {
    const moves: Record<string, number> = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10 };
    if (event.key in moves) {
      event.preventDefault();
      this.activate(this.active + moves[event.key]);
    } else if (event.key === 'Enter') {
      event.preventDefault();
      this.take(this.active);
    }
  }

  private take(index: number): void {
    const series = this.found[index];
    if (!series) return;
    this.dialog.close();
    this.choose(series);
  }

  private update(): void {
    const { found, more } = this.catalog.search(this.input.value, SHOWN);
    this.found = found;
    this.list.replaceChildren(
      ...found.map((s, index) =>
        el('li', { role: 'option', id: `option-${index}`, 'data-index': index },
          el('span', { class: 'pair' }, `${s.base}/${s.quote}`),
          el('span', { class: 'venue' }, s.venue),
          el('span', { class: 'kind' }, s.kind === 'trade' ? 'trades' : 'prices'),
          el('span', { class: 'number' }, padded(s.price ?? '', s.decimals))),
      ),
    );
    const none = this.catalog.all.length ? 'No series matches.' : 'There is no series yet.';
    setText(this.note, found.length ? (more ? `${more} more: type on` : '') : none);
    this.activate(0);
  }

  private activate(index: number): void {
    const options = [...this.list.children];
    this.active = Math.max(0, Math.min(options.length - 1, index));
    options.forEach((option, i) => option.setAttribute('aria-selected', String(i === this.active)));
    options[this.active]?.scrollIntoView({ block: 'nearest' });
    if (options.length) this.input.setAttribute('aria-activedescendant', `option-${this.active}`);
    else this.input.removeAttribute('aria-activedescendant');
  }
}
