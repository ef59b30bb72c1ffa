// Builds the page into a folder: index.html, app.js, style.css, icon.svg, licenses.txt.
//   node build.mjs [--out DIR] [--modules DIR]
// The modules may lie elsewhere (the Meson build keeps them in its build folder), so esbuild is looked up there.
import { createRequire } from 'node:module';
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));

function option(name, fallback) {
  const at = process.argv.indexOf('--' + name);
  return resolve(at < 0 ? fallback : process.argv[at + 1]);
}

export async function build(out, modules) {
  const require = createRequire(join(modules, 'none.js'));
  const esbuild = require('esbuild');
  mkdirSync(out, { recursive: true });
  await esbuild.build({
    entryPoints: { app: join(here, 'src/main.ts'), style: join(here, 'src/style.css') },
    outdir: out,
    bundle: true,
    minify: true,
    format: 'esm',
    target: ['es2020', 'chrome100', 'firefox100', 'safari15.4'],
    legalComments: 'eof', // licences of what is bundled stay in the bundle
    nodePaths: [modules],
    logLevel: 'warning',
  });
  cpSync(join(here, 'src/index.html'), join(out, 'index.html'));
  cpSync(join(here, 'src/icon.svg'), join(out, 'icon.svg'));
  const licence = readFileSync(join(modules, 'lightweight-charts/LICENSE'), 'utf8');
  writeFileSync(join(out, 'licenses.txt'), readFileSync(join(here, 'NOTICE'), 'utf8') + '\n' + licence);
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  await build(option('out', join(here, 'dist')), option('modules', join(here, 'node_modules')));
}
