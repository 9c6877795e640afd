/** Rust: counts, ends and parents against the program's own count, debug and release. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { inFolder } from '../tools/folder.js';
import { projectRoot } from '../tools/go.js';
import { edgesOf, type EndsCounts, spansOutside } from '../tools/native-targets.js';
import { requireBpf, requireCommands } from '../tools/require.js';
import { totalLost, Tracer } from '../tools/tracer.js';

const run = promisify(execFile);
const SOURCE = join(projectRoot, 'test/targets/native/ends.rs');
const ROUNDS = 24;
const FUNCTIONS = ['leaf', 'thrower', 'middle', 'catcher', 'generic', 'recurse'];
/** Calls of recurse in one another. */
const RECURSE_DEPTH = 6;

const builds = [
  ['-Copt-level=0', '-g'],
  ['-Copt-level=2'],
  ['-Copt-level=3', '-Clto=fat'],
  ['-Copt-level=3', '-Ccodegen-units=1', '-Cforce-frame-pointers=yes'],
];

/** "ends::generic<i32>" is one of several that "ends::generic" means. */
const plain = (name: string): string => name.replace(/^ends::/, '').replace(/<.*>$/, '');

for (const options of builds) {
  test(`every end: rustc ${options.join(' ')}`, async (t) => {
    if (!requireBpf(t) || !requireCommands(t, ['rustc'])) return;
    await inFolder(async (folder) => {
      const [program, file] = [join(folder, 'ends'), join(folder, 'counts')];
      await run('rustc', [...options, '-o', program, SOURCE]);
      const symbols = FUNCTIONS.flatMap((name) => ['--symbol', `ends::${name}`]);
      const tracer = Tracer.start([...symbols, '--', program, String(ROUNDS), file]);
      assert.equal(await tracer.ended(), 0, tracer.stderr);
      const counted = JSON.parse(await readFile(file, 'utf8')) as EndsCounts;
      const spans = tracer.spans.map((span) => ({ ...span, name: plain(span.name) }));
      const seen = Object.fromEntries(
        FUNCTIONS.map((name) => {
          const own = spans.filter((span) => span.name === name);
          return [name, [own.length, own.filter(({ status }) => status.code === 'error').length]];
        }),
      );
      assert.deepEqual(seen, counted);
      assert.equal(totalLost(tracer.result), 0, JSON.stringify(tracer.result.lost));
      assert.deepEqual(edgesOf(spans), edges(counted));
      assert.deepEqual(spansOutside(spans), []);
    });
  });
}

function edges(counted: EndsCounts): Record<string, number> {
  const calls = (name: string): number => counted[name]?.[0] ?? 0;
  const recursions = calls('recurse') / RECURSE_DEPTH;
  return {
    'thrower > leaf': calls('thrower') - (counted['thrower']?.[1] ?? 0),
    'catcher > leaf': calls('catcher'),
    'generic > leaf': calls('generic'),
    'recurse > leaf': recursions,
    'middle > thrower': calls('thrower'),
    'catcher > middle': calls('middle'),
    'recurse > recurse': calls('recurse') - recursions,
    'none > catcher': calls('catcher'),
    'none > generic': calls('generic'),
    'none > recurse': recursions,
  };
}
