// Requests to the program, and their failures in words.
import type { Candle, Gap, Kind, Latest, Ledger, SeriesInfo, Status, Why } from './types';

const TIMEOUT_MS = 15_000;
const TOKEN_KEY = 'candlewick-token';

export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number, // 0: no answer at all
    readonly code = '',
  ) {
    super(message);
  }
}

export function token(): string {
  return sessionStorage.getItem(TOKEN_KEY) ?? localStorage.getItem(TOKEN_KEY) ?? '';
}

/** For this tab only, or kept on this computer. An empty one forgets. */
export function setToken(value: string, keep: boolean): void {
  sessionStorage.removeItem(TOKEN_KEY);
  localStorage.removeItem(TOKEN_KEY);
  if (value) (keep ? localStorage : sessionStorage).setItem(TOKEN_KEY, value);
}

function inWords(status: number, path: string, body: string): ApiError {
  let code = '';
  let message = '';
  try {
    const error = JSON.parse(body).error;
    code = error.code ?? '';
    // Of a refusal it is the name of an argument, which the page has chosen and not its reader.
    message = (error.message ?? '') + (error.at && status !== 400 ? ` (at ${error.at})` : '');
  } catch {
    message = body.slice(0, 200);
  }
  const lead: Record<number, string> = {
    401: 'The program asks for a token.',
    404: 'Not found.',
    429: 'Too many requests; try again shortly.',
    503: 'The program is busy or not ready.',
  };
  return new ApiError(message || lead[status] || `The program answered ${status} to ${path}.`, status, code);
}

async function request(path: string, signal?: AbortSignal, body?: unknown): Promise<Response> {
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(), TIMEOUT_MS);
  const cancel = () => limit.abort();
  signal?.addEventListener('abort', cancel);
  try {
    const headers: Record<string, string> = token() ? { Authorization: 'Bearer ' + token() } : {};
    const post = body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) };
    if (body !== undefined) headers['Content-Type'] = 'application/json';
    const answer = await fetch(path, { headers, signal: limit.signal, cache: 'no-store', ...post });
    if (answer.ok) return answer;
    throw inWords(answer.status, path, await answer.text());
  } catch (error) {
    if (error instanceof ApiError) throw error;
    if (signal?.aborted) throw error;
    const slow = limit.signal.aborted ? ` within ${TIMEOUT_MS / 1000} s` : '';
    throw new ApiError(`The program at ${location.host} does not answer${slow}.`, 0);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', cancel); // a view lives all day, its requests do not
  }
}

async function json<T>(path: string, signal?: AbortSignal, body?: unknown): Promise<T> {
  return (await request(path, signal, body)).json() as Promise<T>;
}

export interface CandleQuery {
  series: string;
  kind: Kind | '';
  interval: string;
  zone: string;
  from?: number;
  to?: number;
  limit: number;
}

export function candles(query: CandleQuery, signal?: AbortSignal): Promise<Candle[]> {
  const p = new URLSearchParams({ series: query.series, interval: query.interval, limit: String(query.limit) });
  if (query.kind) p.set('kind', query.kind);
  if (query.zone !== 'UTC') p.set('tz', query.zone);
  if (query.from !== undefined) p.set('from', String(query.from));
  if (query.to !== undefined) p.set('to', String(query.to));
  return json(`/v1/candles?${p}`, signal);
}

export interface ManyQuery {
  series: string;
  kind: Kind;
  interval: string;
  from: number;
  limit: number;
}

/** Several questions at once; null where one of them failed. */
export async function candlesOfMany(queries: ManyQuery[]): Promise<(Candle[] | null)[]> {
  const answer = await json<{ results: { candles?: Candle[] }[] }>('/v1/candles', undefined, queries);
  return answer.results.map((result) => result.candles ?? null);
}

export function gaps(series: string, kind: Kind | '', from?: number, to?: number, signal?: AbortSignal): Promise<Gap[]> {
  const p = new URLSearchParams();
  if (series) p.set('series', series);
  if (kind) p.set('kind', kind);
  if (from !== undefined) p.set('from', String(from));
  if (to !== undefined) p.set('to', String(to));
  return json(`/v1/gaps?${p}`, signal);
}

export function why(series: string, kind: Kind | '', time: number, signal?: AbortSignal): Promise<Why> {
  const p = new URLSearchParams({ series, time: String(time) });
  if (kind) p.set('kind', kind);
  return json(`/v1/why?${p}`, signal);
}

export const series = () => json<SeriesInfo[]>('/v1/series');
export const latest = () => json<{ latest: Latest[] }>('/v1/latest');
export const ledger = () => json<Ledger>('/v1/ledger');
export const status = () => json<Status>('/v1/status');
export const metrics = async () => (await request('/metrics')).text();
