/** What calls allocate, against what the program has seen its memory statistics grow by. */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { BUILDS, numberOf, sum, traceGc, type Traced } from '../tools/gc-target.js';
import { requireBpf } from '../tools/require.js';
import type { JsonSpan } from '../tools/tracer.js';

const FUNCTIONS = ['allocateSmall', 'allocatePointers', 'allocateLarge', 'allocateAll'];
const ASKED = ['--allocations', ...FUNCTIONS.map((name) => `main.${name}`), 'main.allocateNothing'];
/** What a sample stands for is computed in whole numbers, by a fraction for the exponential. */
const WEIGHTS = 0.002;
/** The collector takes back what was set aside and not used, once a cycle. */
const UNUSED = 0.1;

const allocated = (span: JsonSpan): number => numberOf(span, 'underspan.allocated');
const samples = (span: JsonSpan): number => numberOf(span, 'underspan.allocated.samples');

/** Calls that the program measures, and so none from allocateAll. */
function measured({ named }: Traced, name: string): JsonSpan[] {
  return named(`main.${name}`).filter(({ parentSpanId }) => parentSpanId === null);
}

/** allocateAll allocates by what it calls, and its spans have just that. */
function checkHandedUp({ spans, named }: Traced): void {
  for (const call of named('main.allocateAll')) {
    const beneath = spans.filter(({ parentSpanId }) => parentSpanId === call.spanId);
    assert.equal(beneath.length, 2);
    assert.equal(allocated(call), sum(beneath.map(allocated)));
    assert.equal(samples(call), sum(beneath.map(samples)));
  }
}

/** pprof's own sums, by function on the stack, are of the very same samples. */
function checkProfile(t: TestContext, { named, report }: Traced): void {
  for (const each of FUNCTIONS) {
    const calls = named(`main.${each}`);
    const ours = sum(calls.map(allocated));
    const theirs = report.profile?.[`main.${each}`] ?? 0;
    const told = `${each}: ${ours} bytes in ${sum(calls.map(samples))} samples, heap profile ${theirs.toFixed(0)} (${(100 * (ours / theirs - 1)).toFixed(3)} %)`;
    t.diagnostic(told);
    assert.ok(Math.abs(ours / theirs - 1) < WEIGHTS, told);
  }
}

for (const of of BUILDS) {
  const [release, { name, flags }] = of;
  test(`by the memory that is set aside, Go ${release}, ${name}`, async (t) => {
    if (!requireBpf(t)) return;
    const traced = await traceGc(t, of, ['allocate', '20'], ASKED);
    if (!traced) return;
    assert.equal(traced.report.memProfile, 0);
    for (const each of FUNCTIONS) {
      const truth = traced.report.allocated[each] ?? 0;
      const ours = sum(measured(traced, each).map(allocated));
      assert.ok(truth > 1e6);
      assert.ok(Math.abs(ours / truth - 1) < UNUSED, `${each}: ${ours} of ${truth}`);
    }
    assert.equal(sum(traced.named('main.allocateNothing').map(allocated)), 0);
    checkHandedUp(traced);
  });

  // The rate is set while the program runs.
  for (const rate of [16_384, 200_000]) {
    const profile = { name, flags: [...flags, '-tags=profile'] };
    test(`by the profile at ${rate}, Go ${release}, ${name}`, async (t) => {
      if (!requireBpf(t)) return;
      const mode = ['allocate', '20', String(rate)];
      const traced = await traceGc(t, [release, profile], mode, ASKED);
      if (!traced) return;
      assert.equal(traced.report.memProfile, rate);
      for (const each of FUNCTIONS) {
        const truth = traced.report.allocated[each] ?? 0;
        const calls = measured(traced, each);
        const ours = sum(calls.map(allocated));
        const count = sum(calls.map(samples));
        assert.ok(count > 20, `${count} samples of ${each}`);
        // Never each allocation.
        assert.ok(count < (truth / rate) * 2, `${count} samples of ${each}`);
        const error = 5 / Math.sqrt(count) + WEIGHTS;
        assert.ok(Math.abs(ours / truth - 1) < error, `${each}: ${ours} of ${truth}, ${count}`);
      }
      checkProfile(t, traced);
      checkHandedUp(traced);
    });
  }
}
