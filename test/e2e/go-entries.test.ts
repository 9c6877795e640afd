/** Where entries of Go functions are, by what each version makes of them; and that each is hit once. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadNative } from '../../src/native/load.js';
import { ASSUMED_COSTS } from '../../src/plan/host-costs.js';
import { planModule } from '../../src/plan/plan-module.js';
import { parsePattern } from '../../src/symbols/patterns.js';
import { GO_RELEASES } from '../tools/go-builds.js';
import { buildTarget } from '../tools/go.js';
import { obtained, requireBpf } from '../tools/require.js';
import { Tracer } from '../tools/tracer.js';

const CALLS = 2_000;
const GOROUTINES = 4;

const BRANCH = /^j(?!mp)\w+ /;
const FRAME = /^push %rbp|^jbe /;
const CHANGED_OR_BRANCH = /what is read at its beginning is changed|^j(?!mp)\w+ /;
const NOTHING = /no instruction at its beginning/;

/** What is probed, or why it is dear: where nothing is read at the entry, and where arguments are. */
const EXPECTED: Record<string, [RegExp, RegExp]> = {
  branch: [BRANCH, BRANCH],
  // Into the register of its argument, but for the oldest.
  load: [BRANCH, CHANGED_OR_BRANCH],
  straight: [NOTHING, NOTHING],
  framed: [FRAME, FRAME],
  deep: [FRAME, FRAME],
};

async function entries(file: string, args: string[]): Promise<Map<string, string>> {
  const plan = await planModule(loadNative(), file, file, {
    patterns: [parsePattern('main.*')],
    handlers: [],
    excludes: [],
    entryOnly: false,
    trampolines: 'never',
    waits: false,
    gc: false,
    allocations: false,
    values: { args, returns: false, errors: null, stack: false, redact: [] },
    costs: ASSUMED_COSTS,
    maxFunctions: 100,
    maxSites: Infinity,
  });
  try {
    // What the runtime is watched by costs no single step, but for what ends the process.
    for (const { name, emulated } of plan.support) {
      if (name !== 'runtime.fatalpanic') assert.ok(emulated, name);
    }
    const addresses = plan.functions.map(({ entry }) => entry.address);
    const texts = await plan.module.disassemble(Float64Array.from(addresses));
    return new Map(
      plan.functions.map(({ name, entry }, index) => [
        name.replace('main.', ''),
        entry.whyDear ?? texts[index] ?? '',
      ]),
    );
  } finally {
    plan.module.close();
  }
}

for (const release of GO_RELEASES) {
  test(`Go ${release}`, async (t) => {
    const built = buildTarget('leaves', { env: { GOTOOLCHAIN: `go${release}` } });
    const file = await obtained(t, built);
    if (file === null) return;
    const [none, all] = [await entries(file, []), await entries(file, ['*'])];
    for (const [name, [unread, read]] of Object.entries(EXPECTED)) {
      assert.match(none.get(name) ?? '', unread, `${name}, nothing read`);
      assert.match(all.get(name) ?? '', read, `${name}, arguments read`);
    }
    if (!requireBpf(t)) return;
    const tracer = Tracer.start(['main.*', '--sample', '0', '--', file, String(CALLS)]);
    assert.equal(await tracer.ended(), 0, tracer.stderr);
    const counts = new Map(tracer.result.functions.map(({ name, calls }) => [name, calls]));
    for (const name of ['branch', 'load', 'straight', 'walk', 'choose', 'framed']) {
      const counted = counts.get(`main.${name}`);
      // One that a branch leads back to cannot be traced.
      if (counted !== undefined) assert.equal(counted, CALLS * GOROUTINES, name);
    }
    assert.equal(counts.get('main.deep'), GOROUTINES * 31);
    assert.equal(tracer.result.lost['unpaired'], 0);
    const { predicted, measured } = tracer.result.overhead;
    t.diagnostic(JSON.stringify(tracer.result.overhead));
    assert.ok(predicted !== null && predicted > 0);
    if (measured !== null) assert.ok(measured > predicted / 5 && measured < predicted * 5);
  });
}
