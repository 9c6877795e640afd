/**
 * Puts what runs of this checkout into a folder: compiled code, the addon, the BPF objects and the
 * npm packages that they import, without what only builds or documents them.
 *
 *     node deploy/stage.mjs FOLDER
 */
import { cpSync, existsSync, mkdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = realpathSync(fileURLToPath(new URL('..', import.meta.url)));
const [target] = process.argv.slice(2);
if (target === undefined) throw new Error('usage: node deploy/stage.mjs FOLDER');

/** An installation from the registry builds the addon with these; here it is built already. */
const BUILD_ONLY = new Set(['cmake-js', 'node-addon-api']);

const read = (folder) => JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));

/** As Node looks for it: beside the package that asks, then further up. */
function findPackage(from, name) {
  for (let folder = from; ; folder = dirname(folder)) {
    const found = join(folder, 'node_modules', name);
    if (existsSync(join(found, 'package.json'))) return found;
    if (folder === root) return null;
  }
}

/** Folders of all packages that are imported, directly or not. */
function closure() {
  const found = new Set();
  const visit = (folder, { dependencies = {}, optionalDependencies = {} }) => {
    for (const name of Object.keys({ ...dependencies, ...optionalDependencies })) {
      if (folder === root && BUILD_ONLY.has(name)) continue;
      const dependency = findPackage(folder, name);
      if (dependency === null) {
        if (name in optionalDependencies) continue;
        throw new Error(`${name}, which ${folder} needs, is not installed: run npm ci`);
      }
      if (found.has(dependency)) continue;
      found.add(dependency);
      visit(dependency, read(dependency));
    }
  };
  visit(root, read(root));
  return found;
}

/** Types, sources and other forms of what Node loads; licences stay. */
const NEEDLESS = /\.(d\.[cm]?ts|[cm]?ts|map|md|markdown|flow|proto|tsbuildinfo)$/;
const NEEDLESS_FOLDERS = new Set([
  'test',
  'tests',
  'docs',
  'doc',
  'example',
  'examples',
  'benchmarks',
  '.github',
]);

function copyPackage(folder) {
  const { main = '' } = read(folder);
  cpSync(folder, join(target, relative(root, folder)), {
    recursive: true,
    filter: (path) => {
      const name = basename(path);
      if (path === folder) return true;
      // A package in a package that is imported is in the closure itself.
      if (name === 'node_modules') return false;
      if (dirname(path) === folder && NEEDLESS_FOLDERS.has(name)) return false;
      // OpenTelemetry's packages carry three builds; Node loads the one that `main` names.
      if (/^(\.\/)?build\/src\//.test(main) && /^build\/(esm|esnext)$/.test(relative(folder, path)))
        return false;
      return !NEEDLESS.test(name);
    },
  });
}

/** Not what tests have compiled beside them, nor the layouts that records are generated from. */
const isProgram = (name) =>
  /^[a-z]+(\.legacy|\.awake)?\.bpf\.o$/.test(name) &&
  !name.startsWith('layout.') &&
  existsSync(join(root, 'bpf', name.replace(/(\.legacy|\.awake)?\.bpf\.o$/, '.bpf.c')));

function copyOwn() {
  for (const folder of ['dist/cli', 'dist/src']) {
    cpSync(join(root, folder), join(target, folder), {
      recursive: true,
      filter: (path) => !path.endsWith('.map'),
    });
  }
  cpSync(join(root, 'build/Release/underspan.node'), join(target, 'build/Release/underspan.node'));
  cpSync(join(root, 'build/bpf'), join(target, 'build/bpf'), {
    recursive: true,
    filter: (path) => path === join(root, 'build/bpf') || isProgram(basename(path)),
  });
  for (const file of ['LICENSE', 'NOTICE']) cpSync(join(root, file), join(target, file));
  const { name, version, license, type } = read(root);
  const manifest = { name, version, license, type, private: true };
  writeFileSync(join(target, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
}

mkdirSync(target, { recursive: true });
copyOwn();
for (const folder of closure()) copyPackage(folder);
