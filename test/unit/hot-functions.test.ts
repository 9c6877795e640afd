/** Functions that were too dear before come last, also for the next tracer. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, describe, test } from 'node:test';
import { BootCache } from '../../src/native/boot-cache.js';
import type { ModuleFacts } from '../../src/native/native.js';
import { HotFunctions } from '../../src/session/hot-functions.js';
import { wavesOf } from '../../src/session/site-links.js';

const BOOT = { id: '1', kernel: '6', cpu: '' };
const folder = mkdtempSync(join(tmpdir(), 'hot-'));
after(() => rmSync(folder, { recursive: true }));

const facts = (buildId: string | null, stamp = '1 2 3'): ModuleFacts =>
  ({ buildId, stamp }) as ModuleFacts;
const SHOP = facts('abc');
/** Of a tracer that has just started. */
const fresh = (boot = BOOT): HotFunctions => new HotFunctions(new BootCache(folder, boot));

function onlyFile(): string {
  const [name = '', ...others] = readdirSync(folder);
  assert.deepEqual(others, []);
  return join(folder, name);
}

describe('what was too dear', () => {
  beforeEach(() => {
    for (const name of readdirSync(folder)) rmSync(join(folder, name));
  });

  test('is known to the next tracer, of the same file alone, until the host boots', () => {
    const first = fresh();
    first.add(SHOP, '/bin/shop', [0x1000]);
    first.add(SHOP, '/bin/shop', [0x2000, 0x1000]);
    assert.deepEqual([...fresh().of(SHOP, '/elsewhere/shop')], [0x1000, 0x2000]);
    assert.equal(fresh().of(facts('def'), '/bin/shop').size, 0);
    assert.equal(fresh({ ...BOOT, id: '2' }).of(SHOP, '/bin/shop').size, 0);
  });

  test('is known by path, size and time where there is no build ID', () => {
    fresh().add(facts(null, '1 2 3'), '/bin/shop', [5]);
    assert.equal(fresh().of(facts(null, '9 2 3'), '/bin/shop').size, 1);
    assert.equal(fresh().of(facts(null, '1 2 4'), '/bin/shop').size, 0);
    assert.equal(fresh().of(facts(null, '1 2 3'), '/bin/other').size, 0);
  });

  test('is bounded: the oldest are forgotten', () => {
    const hot = fresh();
    hot.add(SHOP, '', [7]);
    hot.add(
      SHOP,
      '',
      Array.from({ length: 1024 }, (_, index) => 100 + index),
    );
    const known = fresh().of(SHOP, '');
    assert.equal(known.size, 1024);
    assert.ok(!known.has(7) && known.has(1123));
    for (let file = 0; file < 70; file++) hot.add(facts(`file ${file}`), '', [1]);
    assert.equal(readdirSync(folder).length, 64);
  });

  test('is not believed where somebody has broken the file', () => {
    fresh().add(SHOP, '', [0x1000]);
    const path = onlyFile();
    const text = readFileSync(path, 'utf8');
    const found = '[4096]';
    assert.ok(text.includes(found));
    for (const broken of ['[4096', '["a"]', '{"length":1}', '[-1]', '[1.5]', 'null', '[1e400]']) {
      writeFileSync(path, text.replace(found, broken));
      assert.equal(fresh().of(SHOP, '').size, 0, broken);
    }
    writeFileSync(path, text.replace(found, `[${Array(2_000).fill(1).join()}]`));
    assert.equal(fresh().of(SHOP, '').size, 0);
  });
});

test('what was too dear comes last, a few at a time', () => {
  const functions = Array.from({ length: 1_000 }, (_, index) => index);
  const hot = new Set(functions.filter((each) => each % 10 === 0));
  const waves = wavesOf(functions, hot);
  assert.deepEqual(
    waves.map(({ length }) => length),
    [256, 644, 16, 84],
  );
  assert.deepEqual(
    waves.flat().filter((each) => hot.has(each)),
    waves.flat().slice(-hot.size),
  );
  assert.deepEqual(
    waves.flat().toSorted((a, b) => a - b),
    functions,
  );
  assert.deepEqual(wavesOf([1, 2]), [[1, 2]]);
});
