/** What the kernel side is told of targets, in which order. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BpfMap } from '../../src/native/native.js';
import { Targets } from '../../src/session/targets.js';
import { targetFacts } from '../../src/spans/records.generated.js';

function watched() {
  const log: string[] = [];
  const map = (name: string): BpfMap =>
    ({
      update: (_: Buffer, value: Buffer) =>
        log.push(
          name === 'facts' ? `removals ${value.readUInt32LE(targetFacts.removals)}` : `set ${name}`,
        ),
      delete: () => log.push(`delete ${name}`),
    }) as unknown as BpfMap;
  const targets = new Targets({
    targets: map('target'),
    verdicts: map('verdict'),
    facts: map('facts'),
  });
  return { targets, taken: () => log.splice(0) };
}

test('that a process is a target no more is told when it is none', () => {
  const { targets, taken } = watched();
  targets.add(7, false);
  targets.addModule(7, { bias: 0, attachment: 3 }, false);
  taken();
  targets.removeModule(7, 3);
  assert.deepEqual(taken(), ['set target', 'removals 2']);
  targets.remove(7);
  assert.deepEqual(taken(), ['delete target', 'delete verdict', 'removals 3']);
});

test('more that is traced in it is no removal', () => {
  const { targets, taken } = watched();
  targets.add(7, false);
  taken();
  targets.addModule(7, { bias: 0, attachment: 3 }, false);
  targets.addModule(7, { bias: 0, attachment: 4 }, false);
  assert.deepEqual(taken(), ['set target', 'set target']);
});
