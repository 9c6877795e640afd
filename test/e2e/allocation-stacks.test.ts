/** Where calls allocate, against what the program has measured by the way that it took there. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Allocations, AllocationStack } from '../../src/sinks/sink.js';
import { MAX_ALLOCATION_STACKS } from '../../src/spans/records.generated.js';
import { BUILDS, numberOf, sum, traceGc, type Traced } from '../tools/gc-target.js';
import { projectRoot } from '../tools/go.js';
import { requireBpf } from '../tools/require.js';

const TRACED = 'main.allocateBeneath';
const ASKED = ['--allocations', TRACED];
/** The collector takes back what was set aside and not used, once a cycle. */
const UNUSED = 0.1;
const PIE = { name: 'pie, -s -w', flags: ['-buildmode=pie', '-ldflags=-s -w'] };
const ALL = BUILDS.filter(([release]) => ['1.18.10', '1.21.13', '1.27.3'].includes(release));
/** As many as the kernel looks at. */
const DEEPEST = 32;

const source = readFileSync(join(projectRoot, 'test/targets/gc/beneath.go'), 'utf8').split('\n');

/** The line whose comment this is. */
function line(comment: string): number {
  const found = source.findIndex((text) => text.endsWith(`// ${comment}`));
  assert.ok(found >= 0, comment);
  return found + 1;
}

const traced = (comment: string): string => `${TRACED}:${line(comment)}`;
const further = `main.descend:${line('further')}`;
const descended = [`main.keepNumbers:${line('number')}`, `main.descend:${line('bottom')}`];

/** By the way that the program measures. */
const FRAMES: Record<string, string[]> = {
  once: [`main.keepTexts:${line('text')}`, traced('once')],
  thrice: [`main.keepTexts:${line('text')}`, traced('thrice')],
  deep: [...descended, further, further, further, traced('deep')],
};
/** Of objects of one size by turns, only the profile can tell who makes how many. */
const SIDES = ['left', 'right'].map((side) => [`main.keepBoth:${line(side)}`, traced('both')]);

const textOf = ({ frames }: AllocationStack): string =>
  frames
    .map(({ function: name, file, line }) => {
      assert.match(file ?? '', /\/beneath\.go$/);
      return `${name}:${line}`;
    })
    .join(' ');

function told({ summary }: Traced): Allocations {
  assert.ok(summary.allocations);
  return summary.allocations;
}

/** The one stack of these frames. */
function stackOf({ stacks }: Allocations, frames: readonly string[]): AllocationStack {
  const found = stacks.filter((stack) => textOf(stack) === frames.join(' '));
  assert.equal(found.length, 1, `${found.length} of ${frames.join(' ')}`);
  const [stack] = found as [AllocationStack];
  assert.equal(stack.function, TRACED);
  assert.equal(stack.cut, false);
  return stack;
}

/** What the kernel does not follow to its end: innermost frames, all of them known. */
function stackTooDeep({ stacks }: Allocations): AllocationStack[] {
  const cut = stacks.filter((stack) => stack.cut);
  assert.ok(cut.length > 0);
  for (const stack of cut) {
    const frames = textOf(stack).split(' ');
    assert.deepEqual(frames.slice(0, 2), descended);
    assert.ok(frames.length > DEEPEST - 8 && frames.length < DEEPEST);
    assert.ok(frames.slice(2).every((frame) => frame === further));
  }
  return cut;
}

function checkSums({ named }: Traced, allocations: Allocations): void {
  const { bytes, samples, stacks, others, uncounted } = allocations;
  assert.deepEqual([others, uncounted], [0, { bytes: 0, samples: 0 }]);
  assert.equal(bytes, sum(stacks.map((stack) => stack.bytes)));
  assert.equal(samples, sum(stacks.map((stack) => stack.samples)));
  const order = stacks.map((stack) => stack.bytes);
  assert.deepEqual(
    order,
    [...order].sort((a, b) => b - a),
  );
  const spans = named(TRACED).map((span) => numberOf(span, 'underspan.allocated'));
  assert.equal(bytes, sum(spans));
}

for (const of of [...ALL, ['1.27.3', PIE]] as typeof BUILDS) {
  const [release, { name, flags }] = of;
  test(`by the memory that is set aside, Go ${release}, ${name}`, async (t) => {
    if (!requireBpf(t)) return;
    const seen = await traceGc(t, of, ['beneath', '20'], ASKED);
    if (!seen) return;
    const truth = seen.report.allocated;
    const allocations = told(seen);
    const check = (way: string, bytes: number): void => {
      const error = bytes / (truth[way] ?? 0) - 1;
      assert.ok(Math.abs(error) < UNUSED, `${way}: ${bytes} of ${truth[way]}`);
    };
    for (const [way, frames] of Object.entries(FRAMES)) {
      check(way, stackOf(allocations, frames).bytes);
    }
    check('far', sum(stackTooDeep(allocations).map(({ bytes }) => bytes)));
    const sides = SIDES.map((frames) => frames.join(' '));
    const both = allocations.stacks.filter((stack) => sides.includes(textOf(stack)));
    check('both', sum(both.map(({ bytes }) => bytes)));
    checkSums(seen, allocations);
  });

  test(`by the profile, Go ${release}, ${name}`, async (t) => {
    if (!requireBpf(t)) return;
    const profile = { name, flags: [...flags, '-tags=profile'] };
    const seen = await traceGc(t, [release, profile], ['beneath', '20', '16384'], ASKED);
    if (!seen) return;
    const truth = seen.report.allocated;
    const allocations = told(seen);
    const check = (way: string, stacks: readonly AllocationStack[], wanted: number): void => {
      const bytes = sum(stacks.map((stack) => stack.bytes));
      const count = sum(stacks.map(({ samples }) => samples));
      const error = 5 / Math.sqrt(count) + 0.002;
      assert.ok(count > 100, `${count} samples of ${way}`);
      assert.ok(Math.abs(bytes / wanted - 1) < error, `${way}: ${bytes} of ${wanted}, ${count}`);
    };
    for (const [way, frames] of Object.entries(FRAMES)) {
      check(way, [stackOf(allocations, frames)], truth[way] ?? 0);
    }
    check('far', stackTooDeep(allocations), truth['far'] ?? 0);
    for (const frames of SIDES) {
      check(frames.join(' '), [stackOf(allocations, frames)], (truth['both'] ?? 0) / 2);
    }
    checkSums(seen, allocations);
  });
}

test('stacks that find no room are counted', async (t) => {
  if (!requireBpf(t)) return;
  const [of] = BUILDS.slice(-3);
  const options = ['--allocations', 'main.allocateApart'];
  const seen = of && (await traceGc(t, of, ['apart', '1'], options));
  if (!seen) return;
  const { stacks, others, bytes, samples, uncounted } = told(seen);
  // When it starts a cycle of the collector, the runtime allocates a little for itself.
  const own = samples - 8_192;
  assert.ok(own >= 0 && own < 100, `${own} more`);
  const missing = MAX_ALLOCATION_STACKS - stacks.length - others;
  assert.ok(missing >= 0 && missing <= own, `${missing} missing`);
  assert.equal(stacks.length, 50);
  const left = uncounted.samples - (8_192 - MAX_ALLOCATION_STACKS);
  assert.ok(left >= 0 && left <= own, `${left} more have no room`);
  assert.ok(Math.abs(uncounted.bytes / uncounted.samples / (bytes / samples) - 1) < 0.01);
  const [span] = seen.named('main.allocateApart');
  assert.ok(span);
  assert.equal(bytes, numberOf(span, 'underspan.allocated'));
  assert.ok(Math.abs(bytes / (seen.report.allocated['apart'] ?? 0) - 1) < UNUSED);
});
