import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadNative } from '../../src/native/load.js';
import { listFunctions } from '../../src/plan/list-functions.js';
import { withoutGenerated } from '../../src/symbols/generated.js';
import { matchAll, parsePattern } from '../../src/symbols/patterns.js';
import { inFolder } from '../tools/folder.js';
import { requireCommands } from '../tools/require.js';

const NAMES = [
  'main.(*Order).Confirm',
  'main.(*Order).Confirm-fm',
  'main.(*Order).Confirm.deferwrap1',
  'main.(*Order).Confirm.gowrap2',
  'main.fm',
  '_start',
  '_init',
  'frame_dummy',
  '_initialise',
];

function found(...texts: string[]): { names: string[]; counts: number[] } {
  const patterns = texts.map(parsePattern);
  const { names, counts } = withoutGenerated(matchAll(patterns, [], NAMES.join('\n')), patterns);
  return { names, counts };
}

test('a wildcard does not mean what no author wrote; a pattern that names it does', () => {
  const cases: [string, string[]][] = [
    ['*', ['main.(*Order).Confirm', 'main.fm', '_initialise']],
    ['main.*', ['main.(*Order).Confirm', 'main.fm']],
    ['/Confirm/', ['main.(*Order).Confirm']],
    ['main.*-fm', ['main.(*Order).Confirm-fm']],
    ['main.(*Order).Confirm-fm', ['main.(*Order).Confirm-fm']],
    ['main.*deferwrap*', ['main.(*Order).Confirm.deferwrap1']],
    ['/\\.(go|defer)wrap/', NAMES.slice(2, 4)],
    ['_start', ['_start']],
    ['_init', ['_init']],
    ['/^(_start|frame_dummy)$/', ['_start', 'frame_dummy']],
    ['_init*', ['_init', '_initialise']],
    ['_in*', ['_initialise']],
  ];
  for (const [text, names] of cases) assert.deepEqual(found(text).names, names, text);
});

test('one pattern has what another leaves out', () => {
  const { names, counts } = found('*', '_start', 'main.*-fm');
  assert.ok(names.includes('_start') && names.includes('main.(*Order).Confirm-fm'));
  assert.ok(!names.includes('frame_dummy'));
  assert.deepEqual(counts, [NAMES.length - 4, 1, 1]);
});

test('a pattern that matches nothing else matches nothing', () => {
  assert.deepEqual(found('frame_*'), { names: [], counts: [0] });
});

test('the functions of a C program are those that it was written with', async (t) => {
  if (!requireCommands(t, ['gcc'])) return;
  await inFolder(async (folder) => {
    const source = join(folder, 'shop.c');
    const file = join(folder, 'shop');
    await writeFile(
      source,
      'int order(int n) { return n * 3; }\nint main(void) { return order(0); }\n',
    );
    execFileSync('gcc', ['-O0', '-o', file, source]);
    const list = async (text: string): Promise<string[]> => {
      const { functions } = await listFunctions(loadNative(), file, file, [parsePattern(text)]);
      return functions.map(({ name }) => name).sort();
    };
    assert.deepEqual(await list('*'), ['main', 'order']);
    assert.deepEqual(await list('frame_dummy'), ['frame_dummy']);
  });
});
