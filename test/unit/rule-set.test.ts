import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseConfig } from '../../src/agent/config/parse.js';
import { RuleSet } from '../../src/agent/rule-set.js';
import { mayContinueOthers } from '../../src/native/host.js';
import type { UnderspanError } from '../../src/errors.js';
import type { Features, Native } from '../../src/native/native.js';
import { planModule } from '../../src/plan/plan-module.js';
import { planRequest, type TraceWishes } from '../../src/session/wishes.js';
import { ASSUMED_COSTS } from '../../src/plan/host-costs.js';
import { MAX_HOLD_NAMES } from '../../src/spans/records.generated.js';
import { Procfs } from '../../src/targets/procfs.js';
import type { Workloads } from '../../src/targets/workload.js';

const set = (uprobeMulti = true): RuleSet =>
  new RuleSet({
    features: { uprobeMulti } as Features,
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

const withLimits = (limits: object): ReturnType<typeof parseConfig>['config'] =>
  parseConfig(JSON.stringify({ rules: [rule('a')], limits }), 'agent.yaml').config;

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

test('where probes are attached one by one, a rule has fewer functions unless it is told otherwise', () => {
  const most = (uprobeMulti: boolean, limits: object): number | undefined =>
    set(uprobeMulti).from(withLimits(limits))[0]?.request.maxFunctions;
  assert.equal(most(true, {}), 4_000);
  assert.equal(most(false, {}), 100);
  assert.equal(most(true, { functions: 5_000 }), 5_000);
  assert.equal(most(false, { functions: 300 }), 300);
});

test('too many of them are refused with the reason', async () => {
  const names = Array.from({ length: 101 }, (_, index) => `f${index}`).join('\n');
  const module = {
    facts: { go: null },
    functions: async () => ({ names }),
    close: () => undefined,
  };
  const native = { openModule: async () => module } as unknown as Native;
  const refusal = async (uprobeMulti: boolean): Promise<UnderspanError> => {
    const wishes = { symbols: ['f*'], handlers: [], exclude: [] } as Partial<TraceWishes>;
    const features = { uprobeMulti } as Features;
    const asked = { ...wishes, maxFunctions: uprobeMulti ? 100 : null } as TraceWishes;
    const request = planRequest(asked, features, ASSUMED_COSTS);
    return planModule(native, process.execPath, '/bin/a', request).then(
      () => assert.fail('it was planned'),
      (error: UnderspanError) => error,
    );
  };
  const few = await refusal(false);
  assert.equal(few.code, 'TOO_MANY_FUNCTIONS');
  assert.match(few.message, /^101 functions match, more than the 100 .*has no uprobe_multi/);
  assert.match(few.hint ?? '', /--max-functions 101/);
  assert.doesNotMatch((await refusal(true)).message, /uprobe_multi/);
});
