// What the tests run against: the mock, the real program (WICK=path/to/wick), or one that runs already (--url).
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const START_MS = 10_000;

/** The one place that knows how each is started. */
function command(kind, { address, data, empty, config }) {
  if (kind === 'wick') return [process.env.WICK, ['run', '--data', data, '--listen', address, ...(config ? ['--config', config] : [])]];
  return [process.execPath, [join(here, '../dev/mock.mjs'), '--listen', address, ...(empty ? ['--empty'] : [])]];
}

function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

export const kind = process.env.WICK ? 'wick' : 'mock';

/** `empty`: nothing in the store; otherwise the mock has a market, and the real program is given prices by the test. */
export async function startProgram({ empty = false, token = '' } = {}) {
  const address = `127.0.0.1:${await freePort()}`;
  const url = `http://${address}`;
  const data = mkdtempSync(join(tmpdir(), 'page-data-'));
  const headers = { 'Content-Type': 'application/json', ...(token ? { Authorization: 'Bearer ' + token } : {}) };
  const config = token ? join(data, 'wick.yaml') : '';
  if (token) writeFileSync(config, `http: {tokens: [${createHash('sha256').update(token).digest('hex')}]}\n`);
  let child = null;
  let log = '';

  async function start() {
    const [file, args] = command(kind, { address, data, config, empty: empty || kind === 'wick' });
    child = spawn(file, args, { cwd: data, stdio: ['ignore', 'pipe', 'pipe'] });
    child.stdout.on('data', (part) => (log += part));
    child.stderr.on('data', (part) => (log += part));
    const until = Date.now() + START_MS;
    for (;;) {
      if (child.exitCode !== null) throw new Error(`the program ended at once:\n${log}`);
      if (await fetch(url + '/readyz', { headers }).then((r) => r.ok, () => false)) return;
      if (Date.now() > until) throw new Error(`the program is not ready within ${START_MS} ms:\n${log}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async function stop(signal = 'SIGKILL') {
    if (!child || child.exitCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    child.kill('SIGCONT');
    await ended;
  }

  await start();
  return {
    url,
    quiet: empty || kind === 'wick', // nothing moves but by what a test sends
    start,
    stop,
    async close() {
      await stop('SIGTERM');
      rmSync(data, { recursive: true, force: true });
    },
    fault: (order) => post(url, '/mock', order, headers),
    send: (events) => post(url, '/v1/prices', events, headers),
    get: (path) => fetch(url + path, { headers }).then((r) => r.json()),
  };
}

async function post(url, path, body, headers) {
  const answer = await fetch(url + path, { method: 'POST', headers, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`POST ${path}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

export function priceEvent(base, price, time, exchange = 'binance') {
  return { baseCurrency: base, quoteCurrency: 'USDT', exchange, price, timestampInMs: time };
}

/** A price each minute up to now, for two pairs, in order of time. */
export async function seed(program, minutes) {
  const now = Date.now();
  let batch = [];
  for (let i = minutes; i >= 0; i--) {
    const time = now - i * 60_000;
    const wave = 50_000 + Math.round(2000 * Math.sin(i / 90) + 300 * Math.sin(i / 7));
    batch.push(priceEvent('BTC', `${wave}.1`, time), priceEvent('ETH', `${(wave / 20).toFixed(2)}`, time, 'huobi'));
    if (batch.length >= 500 || i === 0) {
      await program.send(batch);
      batch = [];
    }
  }
}
