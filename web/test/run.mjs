// The page's tests: node test/run.mjs [--url http://..] [--only WORDS] [--shots FOLDER]
// Against the mock; with WICK=path/to/wick against the real program; with --url against one that runs (what needs to stop
// it, or to write into it, is left out then). What needs scripted faults runs against the mock, also with WICK; --needs fault
// runs that alone. Last line: N passed, N failed, N skipped.
import { spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from '../build.mjs';
import { withBrowser } from './browser.mjs';
import { tests as pageTests } from './page.mjs';
import { kind, seed, startProgram } from './program.mjs';
import { tests as traderTests } from './trader.mjs';
import { unitTests } from './unit.mjs';

const tests = [...pageTests, ...traderTests];
const here = dirname(fileURLToPath(import.meta.url));
const option = (name) => {
  const at = process.argv.indexOf('--' + name);
  return at < 0 ? '' : process.argv[at + 1];
};
const url = option('url');
const only = option('only');
const needs = option('needs');
const shots = option('shots');
const SEED_MINUTES = 1800;
const can = url ? {} : kind === 'wick' ? { stop: true, send: true, empty: true, exact: true, token: true } : { stop: true, send: true, empty: true, fault: true };

const count = { passed: 0, failed: 0, skipped: 0 };

async function attempt(name, work) {
  if (only && !name.includes(only)) return;
  const began = Date.now();
  try {
    await work();
    count.passed++;
    console.log(`ok      ${name} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
  } catch (error) {
    count.failed++;
    console.log(`FAILED  ${name}\n        ${String(error.stack ?? error).split('\n').slice(0, 6).join('\n        ')}`);
  }
}

async function runPageTest(newPage, shared, [name, needs, steps]) {
  let page = null;
  const own = needs.empty || needs.stop || needs.send;
  const program = own ? await startProgram({ empty: true, token: needs.token }) : shared;
  try {
    if (own && !needs.empty) await seed(program, SEED_MINUTES);
    const pages = [];
    const opened = async (options) => {
      const p = await newPage(options);
      pages.push(p);
      return (page = p);
    };
    try {
      await steps({ newPage: opened, program });
      const errors = pages.flatMap((p) => p.errors);
      if (errors.length) throw new Error('errors in the page: ' + errors.join('; '));
    } catch (error) {
      if (shots && page) await page.screenshot({ path: join(shots, name.replace(/\W+/g, '-') + '.png') }).catch(() => {});
      throw error;
    } finally {
      for (const p of pages) await p.context().close().catch(() => {});
    }
  } finally {
    if (own) await program.close();
  }
}

async function shared() {
  if (url) {
    return { url: url.replace(/\/$/, ''), get: (path) => fetch(url.replace(/\/$/, '') + path).then((r) => r.json()), close: async () => {} };
  }
  const program = await startProgram();
  if (kind === 'wick') await seed(program, SEED_MINUTES);
  return program;
}

/** What needs scripted faults: against the mock, meanwhile, by a process of its own, as most of it is waiting. */
function runFaults() {
  const { WICK, ...env } = process.env;
  const words = [fileURLToPath(import.meta.url), '--needs', 'fault', ...(only ? ['--only', only] : []), ...(shots ? ['--shots', shots] : [])];
  const child = spawn(process.execPath, words, { env, stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.on('data', (part) => (output += part));
  return new Promise((resolve) => child.once('close', () => resolve(output)));
}

if (shots) mkdirSync(shots, { recursive: true });
if (kind === 'mock' && !url) await build(join(here, '../dist'), join(here, '../node_modules'));
const faults = !needs && kind === 'wick' && !url ? runFaults() : null;
if (!needs) for (const [name, work] of await unitTests()) await attempt(name, work);
await withBrowser(async (newPage) => {
  const program = await shared();
  try {
    for (const test of tests) {
      if (needs && !test[1][needs]) continue;
      if (!needs && kind === 'wick' && !url && test[1].fault) continue;
      const missing = Object.keys(test[1]).filter((need) => !can[need]);
      if (missing.length && (!only || test[0].includes(only))) {
        count.skipped++;
        console.log(`skipped ${test[0]} (needs ${missing.join(', ')})`);
      } else await attempt(test[0], () => runPageTest(newPage, program, test));
    }
  } finally {
    await program.close();
  }
});
if (faults) {
  const output = await faults;
  const sums = /(\d+) passed, (\d+) failed, (\d+) skipped\s*$/.exec(output) ?? [0, 0, 1, 0];
  process.stdout.write(output.replace(/\d+ passed.*\s*$/, ''));
  count.passed += Number(sums[1]);
  count.failed += Number(sums[2]);
  count.skipped += Number(sums[3]);
}
console.log(`${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`);
process.exit(count.failed ? 1 : 0);
