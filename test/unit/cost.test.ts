import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ProgramRunTime } from '../../src/native/native.js';
import { callCostNs, siteCostNs, spanCostNs, supportCostNs, wayOf } from '../../src/plan/cost.js';
import { explain } from '../../src/plan/explain.js';
import { ASSUMED_COSTS, type HostCosts } from '../../src/plan/host-costs.js';
import { type ModulePlan, type PlannedFunction, privateBytes } from '../../src/plan/plan.js';
import type { Site } from '../../src/plan/sites.js';
import { spentOn } from '../../src/session/overhead.js';
import type { FunctionStatistics } from '../../src/session/statistics.js';

const COSTS: HostCosts = {
  ...ASSUMED_COSTS,
  emulatedNs: 1_000,
  singleSteppedNs: 10_000,
  trampolineNs: 1_700,
  carriedOutNs: null,
  kernelProbeNs: 200,
  enterNs: 30,
  leaveNs: 20,
  spanNs: 7,
  countNs: 3,
};
const CARRIES_OUT: HostCosts = { ...COSTS, carriedOutNs: 2_000 };

const site = (more: Partial<Site> = {}): Site => ({
  address: 0x1000,
  condition: 0,
  emulated: false,
  ...more,
});
const PUSH = site({ emulated: true });
const RET = site({ address: 0x1010, plainReturn: true });
const LONG_RET = site({ address: 0x1020, plainReturn: false });
const TAIL_CALL = site({ address: 0x1030, emulated: true });

const fn = (more: Partial<PlannedFunction> = {}): PlannedFunction =>
  ({
    name: 'f',
    address: 0x1000,
    entry: PUSH,
    returns: [RET],
    single: false,
    entryOnly: null,
    trampoline: false,
    ...more,
  }) as PlannedFunction;

const plan = (functions: PlannedFunction[], support: Site[] = []): ModulePlan =>
  ({
    kind: 'native',
    functions,
    support: support.map((each) => ({ ...each, name: 'support' })),
    module: {
      disassemble: (addresses: Float64Array) =>
        Promise.resolve(Array.from(addresses, (address) => `at ${address.toString(16)}`)),
    },
  }) as unknown as ModulePlan;

test('the way of a site depends on the host', () => {
  for (const [given, costs, way, ns] of [
    [PUSH, COSTS, 'emulated', 1_000],
    [RET, COSTS, 'single-stepped', 10_000],
    [RET, CARRIES_OUT, 'carried out', 2_000],
    [LONG_RET, CARRIES_OUT, 'single-stepped', 10_000],
    [site({ inKernel: true }), COSTS, 'kernel probe', 200],
  ] as const) {
    assert.equal(wayOf(given, costs), way);
    assert.equal(siteCostNs(given, costs), ns, way);
  }
});

test('a call costs its entry, the mean of its returns, and our programs', () => {
  assert.equal(callCostNs(fn(), COSTS), 11_050);
  assert.equal(spanCostNs(fn(), COSTS), 11_057);
  assert.equal(callCostNs(fn({ returns: [RET, TAIL_CALL] }), COSTS), 1_000 + 5_500 + 50);
  assert.equal(callCostNs(fn(), CARRIES_OUT), 3_050);
});

test('what has no return sites', () => {
  // Only counted.
  assert.equal(callCostNs(fn({ returns: [] }), COSTS), 1_003);
  assert.equal(spanCostNs(fn({ returns: [] }), COSTS), 1_003);
  // One instruction, one trap, both programs.
  assert.equal(callCostNs(fn({ entry: RET, returns: [], single: true }), COSTS), 10_050);
  assert.equal(callCostNs(fn({ returns: [], trampoline: true }), COSTS), 1_750);
});

test('sites of our own bookkeeping cost what they do on the average', () => {
  assert.equal(supportCostNs(plan([]), COSTS), 0);
  assert.equal(supportCostNs(plan([], [PUSH, RET]), COSTS), 5_500);
});

test('text becomes private by the page, and none of the kernel', () => {
  const far = site({ address: 0x9000 });
  assert.equal(privateBytes(plan([fn(), fn({ entry: far })], [RET])), 2 * 4_096);
  assert.equal(privateBytes({ ...plan([fn()]), kind: 'kernel' }), 0);
});

test('each choice is explained', async () => {
  const dear = site({ address: 0x2000, whyDear: 'no instruction at its beginning is emulated' });
  const { functions, support } = await explain(
    plan([fn(), fn({ entry: dear, returns: [LONG_RET] })], [RET]),
    COSTS,
  );
  assert.deepEqual(functions[0]?.entry, {
    address: 0x1000,
    instruction: 'at 1000',
    way: 'emulated',
    ns: 1_000,
    whyDear: null,
  });
  assert.match(functions[0]?.returns[0]?.whyDear ?? '', /no program may carry out a ret/);
  assert.equal(functions[1]?.entry.whyDear, dear.whyDear);
  assert.match(functions[1]?.returns[0]?.whyDear ?? '', /no ret of one byte/);
  assert.equal(functions[1]?.callNs, 20_050);
  assert.deepEqual(
    support.map(({ name, way }) => [name, way]),
    [['support', 'single-stepped']],
  );
});

test('what was spent: calls, hits of returns, spans, and our own bookkeeping', () => {
  const counted = (calls: number, returns: number, spans: number): FunctionStatistics =>
    ({ calls, returns, unpairedReturns: 1, spans }) as FunctionStatistics;
  const programs = [
    { program: 'support', runCount: 4 },
    { program: 'enter', runCount: 99 },
  ] as ProgramRunTime[];
  const functions = [fn(), fn(), fn()];
  const statistics = [counted(10, 8, 5), counted(0, 0, 0)];
  const spent = spentOn(plan(functions, [PUSH]), COSTS, statistics, programs);
  assert.equal(spent.kernelNs, 10 * 1_000 + 9 * 10_000 + 4 * 1_000);
  // Of one call only the entry was seen.
  assert.equal(spent.predictedNs, 9 * 11_050 + 1_003 + 5 * 7 + 4 * 1_003);
});
