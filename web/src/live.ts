// Says when the page is not live: the light in the header, the banner over the chart, dimmed prices.
import { byId, setText } from './dom';
import type { StreamState } from './stream';
import type { Zone } from './zone';

/** At the start a page has this long to connect before it complains. */
const PATIENCE_MS = 2500;

export class LiveState {
  private state: StreamState = { live: false, since: 0, retryAt: 0 };
  private behind = false;
  private locked = false;
  private readonly started = Date.now();

  constructor(
    private zone: Zone,
    private readonly hooks: { retry(): void; changed(live: boolean): void },
  ) {
    byId('banner-retry').addEventListener('click', () => this.hooks.retry());
    setInterval(() => this.paint(), 500);
  }

  setZone(zone: Zone): void {
    this.zone = zone;
    this.paint();
  }

  set(state: StreamState): void {
    this.state = state;
    this.paint();
  }

  /** The program answers but has not caught up with its log. */
  setBehind(behind: boolean): void {
    this.behind = behind;
    this.paint();
  }

  /** The program asks for a token: nothing is lost, only closed. */
  setLocked(locked: boolean): void {
    this.locked = locked;
    this.paint();
  }

  private get starting(): boolean {
    return !this.state.live && !this.state.since && Date.now() - this.started < PATIENCE_MS;
  }

  private words(): string {
    if (this.state.live) return '';
    const { since, retryAt } = this.state;
    const seconds = Math.ceil((retryAt - Date.now()) / 1000);
    const next = retryAt && seconds > 0 ? `reconnecting in ${seconds} s` : 'reconnecting';
    return since ? `Not live since ${this.zone.clock(since)}, ${next}` : `Not live: ${location.host} does not answer, ${next}`;
  }

  private paint(): void {
    const { live } = this.state;
    const kind = this.locked ? 'locked' : live ? (this.behind ? 'behind' : 'live') : this.starting ? 'starting' : 'lost';
    const light = byId('live');
    if (light.dataset.state !== kind) {
      light.dataset.state = kind;
      const text = { live: 'live', behind: 'catching up', starting: 'connecting', lost: 'not live', locked: 'locked' }[kind];
      setText(byId('live-text'), text);
      light.title = kind === 'behind' ? 'The program still reads its log: prices are behind.' : '';
      document.body.classList.toggle('stale', kind === 'lost' || kind === 'locked');
      byId('banner').hidden = kind !== 'lost';
      this.hooks.changed(kind !== 'lost');
    }
    if (kind === 'lost') setText(byId('banner-text'), this.words());
  }
}
