// The websocket: subscriptions, resumption by cursor, reconnection, and the rule of when the page is not live.
import { token } from './api';
import type { Kind, StreamMessage } from './types';

/** The program sends a heartbeat each 5 s; a page that misses two is not live. */
const SILENCE_MS = 11_000;
const BACKOFF_FIRST_MS = 500;
const BACKOFF_MAXIMUM_MS = 15_000;
const SNAPSHOT = 2;

export interface Subscription {
  series: string;
  interval: string;
  kind?: Kind;
  tz?: string;
}

export type StreamState =
  | { live: true }
  /** `since`: when the program was last heard, 0 if never. `retryAt`: 0 while an attempt is under way. */
  | { live: false; since: number; retryAt: number };

export interface StreamHooks {
  message(message: StreamMessage): void;
  state(state: StreamState): void;
}

const keyOf = (s: Subscription) => `${s.series}|${s.interval}|${s.kind ?? ''}|${s.tz ?? ''}`;

export class Stream {
  /** Milliseconds that the program's clock is ahead of this one's. */
  clockAhead = 0;

  private socket: WebSocket | null = null;
  private subscriptions = new Map<string, Subscription>();
  private cursor = '';
  private lastHeard = 0;
  private opened = 0;
  private live = false;
  private attempts = 0;
  private retryAt = 0;
  private retryTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly hooks: StreamHooks) {
    setInterval(() => this.checkSilence(), 1000);
    addEventListener('online', () => this.retryNow());
    addEventListener('offline', () => this.drop());
    document.addEventListener('visibilitychange', () => {
      if (document.hidden) return;
      this.checkSilence();
      this.retryNow();
    });
  }

  get state(): StreamState {
    return this.live ? { live: true } : { live: false, since: this.lastHeard, retryAt: this.retryAt };
  }

  /** The whole set of what is wanted; differences are sent. */
  subscribe(wanted: Subscription[]): void {
    const next = new Map(wanted.map((s) => [keyOf(s), s]));
    const gone = [...this.subscriptions].filter(([key]) => !next.has(key)).map(([, s]) => s);
    const added = [...next].filter(([key]) => !this.subscriptions.has(key)).map(([, s]) => s);
    this.subscriptions = next;
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    if (gone.length) this.send({ unsubscribe: gone });
    if (added.length) this.send({ subscribe: added, snapshot: SNAPSHOT });
  }

  connect(): void {
    clearTimeout(this.retryTimer);
    this.retryTimer = undefined;
    this.retryAt = 0;
    const scheme = location.protocol === 'https:' ? 'wss:' : 'ws:';
    const query = token() ? '?access_token=' + encodeURIComponent(token()) : '';
    const socket = new WebSocket(`${scheme}//${location.host}/v1/stream${query}`);
    this.socket = socket;
    this.opened = Date.now();
    socket.onopen = () => {
      const subscribe = [...this.subscriptions.values()];
      if (!subscribe.length) return;
      this.send(this.cursor ? { subscribe, cursor: this.cursor, snapshot: SNAPSHOT } : { subscribe, snapshot: SNAPSHOT });
    };
    socket.onmessage = (event) => this.receive(String(event.data));
    socket.onclose = () => this.lost(socket);
    this.hooks.state(this.state);
  }

  retryNow(): void {
    if (!this.live && this.retryTimer !== undefined) this.connect();
  }

  private send(message: unknown): void {
    this.socket?.send(JSON.stringify(message));
  }

  private receive(text: string): void {
    this.lastHeard = Date.now();
    if (!this.live) {
      this.live = true;
      this.attempts = 0;
      this.hooks.state(this.state);
    }
    let message: StreamMessage;
    try {
      message = JSON.parse(text);
    } catch {
      return; // A frame that is no JSON says nothing but that someone is there.
    }
    if (message.type === 'heartbeat') this.clockAhead = message.time - this.lastHeard;
    else if ('cursor' in message && message.cursor) this.cursor = message.cursor;
    this.hooks.message(message);
  }

  private checkSilence(): void {
    if (this.socket && Date.now() - Math.max(this.lastHeard, this.opened) > SILENCE_MS) this.drop();
  }

  /** Gives the connection up without waiting for its close, which a silent peer may never answer. */
  private drop(): void {
    const socket = this.socket;
    if (!socket) return;
    socket.close();
    this.lost(socket);
  }

  private lost(socket: WebSocket): void {
    if (socket !== this.socket) return;
    socket.onclose = socket.onmessage = socket.onopen = null;
    this.socket = null;
    this.live = false;
    const wait = Math.min(BACKOFF_MAXIMUM_MS, BACKOFF_FIRST_MS * 2 ** this.attempts++) * (0.5 + Math.random() / 2);
    this.retryAt = Date.now() + wait;
    this.retryTimer = setTimeout(() => this.connect(), wait);
    this.hooks.state(this.state);
  }
}
