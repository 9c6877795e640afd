import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseConfig } from '../../src/agent/config/parse.js';
import { RuleSet } from '../../src/agent/rule-set.js';
import { mayContinueOthers } from '../../src/native/host.js';
import type { Features } from '../../src/native/native.js';
import { ASSUMED_COSTS } from '../../src/plan/host-costs.js';
import { MAX_HOLD_NAMES } from '../../src/spans/records.generated.js';
import { Procfs } from '../../src/targets/procfs.js';
import type { Workloads } from '../../src/targets/workload.js';

const set = (): RuleSet =>
  new RuleSet({
    features: { uprobeMulti: true } as Features,
    costs: ASSUMED_COSTS,
    procfs: new Procfs(),
    workloads: {} as Workloads,
  });

const rule = (name: string, hold = false): object => ({
  name,
  select: { executable: `/bin/${name}` },
  trace: { symbols: ['main.*'] },
  hold,
});

const config = (...rules: object[]): ReturnType<typeof parseConfig>['config'] =>
  parseConfig(JSON.stringify({ rules }), 'agent.yaml').config;

test('a rule that is written as before stays the same object', () => {
  const rules = set();
  const [kept] = rules.from(config(rule('kept')));
  const [, again] = rules.from(config(rule('new'), rule('kept')));
  assert.equal(again, kept);
});

test('more names to hold than there is room for are refused, and the rules stay as they are', (t) => {
  if (!mayContinueOthers()) return t.skip('not permitted to hold');
  const rules = set();
  const [kept] = rules.from(config(rule('kept')));
  const many = Array.from({ length: MAX_HOLD_NAMES + 1 }, (_, n) => rule(`held-${n}`, true));
  assert.throws(() => rules.from(config(...many)), { code: 'TOO_MANY_HOLD_NAMES' });
  const [same] = rules.from(config(rule('kept')));
  assert.equal(same, kept);
  assert.equal(rules.from(config(...many.slice(1))).length, MAX_HOLD_NAMES);
});
