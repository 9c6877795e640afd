import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir, uptime } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { SelectConfig } from '../../src/agent/config/config.js';
import { nameBeginsWith } from '../../src/agent/config/glob.js';
import { selectsOf } from '../../src/agent/selects.js';
import type { ProbedModule } from '../../src/session/probed-module.js';
import { Numbers } from '../../src/session/numbers.js';
import { decide, type Fit, type Reach, type TraceRule } from '../../src/session/rule.js';
import { compare, type FollowedProcess } from '../../src/session/rule-change.js';
import { Procfs } from '../../src/targets/procfs.js';
import type { Target } from '../../src/targets/target.js';
import type { PodFacts, Workload, Workloads } from '../../src/targets/workload.js';

const folder = mkdtempSync(join(tmpdir(), 'underspan-rules-'));
after(() => rmSync(folder, { recursive: true }));

test('numbers are given out from the lowest, and ranges that touch become one again', () => {
  const numbers = new Numbers(1, 10);
  assert.deepEqual([numbers.take(4), numbers.take(4), numbers.take(4)], [1, 5, null]);
  assert.equal(numbers.room, 2);
  numbers.giveBack(1, 4);
  assert.equal(numbers.room, 4);
  assert.equal(numbers.take(5), null);
  numbers.giveBack(5, 4);
  assert.equal(numbers.room, 10);
  assert.equal(numbers.take(8), 1);
  assert.equal(numbers.room, 2);
  assert.equal(numbers.used, 9);
});

test('whatever is taken and given back, no number is given out twice', () => {
  const numbers = new Numbers(1, 50);
  const taken = new Map<number, number>();
  let state = 7;
  const random = (below: number): number => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
    return state % below;
  };
  for (let round = 0; round < 5_000; round++) {
    const first = [...taken.keys()][random(taken.size + 1)];
    if (first !== undefined) {
      numbers.giveBack(first, taken.get(first) ?? 0);
      taken.delete(first);
      continue;
    }
    const count = 1 + random(12);
    const given = numbers.take(count);
    if (given === null) continue;
    for (const [other, length] of taken) {
      assert.ok(given + count <= other || other + length <= given, `${given} and ${other}`);
    }
    assert.ok(given >= 1 && given + count <= 51);
    taken.set(given, count);
  }
  for (const [first, count] of taken) numbers.giveBack(first, count);
  assert.equal(numbers.room, 50);
});

const TARGET = { pid: 7, exe: '/bin/shop', fileId: '1:2' } as Target;

function rule(name: string, fit: Fit, reach: Reach): TraceRule {
  return { id: name, name, fits: () => fit, reach: () => reach } as unknown as TraceRule;
}

test('the first rule that selects a process has it', () => {
  const [a, b] = [rule('a', 'yes', 'some'), rule('b', 'yes', 'all')];
  assert.deepEqual(decide([a, b], TARGET), { rule: a, whole: false });
  assert.deepEqual(decide([rule('no', 'no', 'none'), b], TARGET), { rule: b, whole: true });
  assert.equal(decide([rule('no', 'no', 'all')], TARGET), null);
});

test('an executable is traced whole only if no earlier rule may select some of its processes', () => {
  const whole = rule('whole', 'yes', 'all');
  const other = rule('other', 'no', 'some');
  assert.deepEqual(decide([other, whole], TARGET), { rule: whole, whole: false });
  assert.deepEqual(decide([whole, other], TARGET), { rule: whole, whole: true });
});

test('what an earlier rule does not know yet is waited for', () => {
  const later = rule('later', 'yes', 'all');
  const asking = rule('asking', 'unknown', 'some');
  assert.equal(decide([asking, later], TARGET), 'unknown');
  assert.deepEqual(decide([later, asking], TARGET), { rule: later, whole: true });
});

test('other rules move only the processes that they mean', () => {
  const [kept, old] = [rule('kept', 'yes', 'all'), rule('old', 'yes', 'all')];
  const [keptProbes, oldProbes] = [kept, old].map(
    (of): ProbedModule => ({ rule: of, whole: true }) as unknown as ProbedModule,
  ) as [ProbedModule, ProbedModule];
  const under = (of: TraceRule, probed: ProbedModule): Map<number, FollowedProcess> =>
    new Map([[7, { target: TARGET, rule: of, probed, others: new Set() }]]);
  assert.deepEqual(compare([kept], under(kept, keptProbes), [keptProbes]), {
    moves: [],
    gone: new Set(),
    undecided: [],
  });
  assert.deepEqual(compare([kept], under(old, oldProbes), [oldProbes]), {
    moves: [{ target: TARGET, decision: { rule: kept, whole: true } }],
    gone: new Set([oldProbes]),
    undecided: [],
  });
  // An earlier rule may have some of the executable's processes from now on.
  const narrowed = compare([rule('new', 'no', 'some'), kept], under(kept, keptProbes), [
    keptProbes,
  ]);
  assert.deepEqual(narrowed.gone, new Set([keptProbes]));
  assert.equal(narrowed.moves.length, 1);
});

const NOTHING: SelectConfig = {
  executables: [],
  commands: [],
  services: [],
  containerImages: [],
  containerNames: [],
  namespaces: [],
  labels: {},
  owners: [],
};

const PID = 4242;

/** A process that runs /bin/shop, `ageS` seconds old. */
function procfs(ageS = 5): Procfs {
  const root = mkdtempSync(join(folder, 'proc-'));
  const at = join(root, String(PID));
  mkdirSync(at);
  const ticks = Math.round((uptime() - ageS) * 100);
  writeFileSync(join(at, 'stat'), `${PID} (shop) S 1 ${'0 '.repeat(17)}${ticks} 0\n`);
  writeFileSync(join(at, 'cmdline'), 'shop\0--role\0api\0');
  writeFileSync(join(at, 'environ'), 'OTEL_SERVICE_NAME=checkout\0');
  symlinkSync('/bin/shop (deleted)', join(at, 'exe'));
  return new Procfs(root);
}

function workloads(workload: Workload): Workloads {
  return {
    of: () => workload,
    attributes: () => ({}),
    onChange: () => () => undefined,
    start: () => undefined,
    close: () => undefined,
  };
}

const NOWHERE: Workload = { container: null, pod: null };
const POD: PodFacts = {
  name: 'checkout-1',
  namespace: 'prod',
  uid: null,
  node: null,
  labels: { app: 'shop', tier: 'web' },
  owners: [
    { kind: 'ReplicaSet', name: 'checkout-5d9' },
    { kind: 'Deployment', name: 'checkout' },
  ],
};
const IN_POD: Workload = {
  container: { id: 'a', runtime: 'containerd', image: 'registry/shop:1.2', name: 'app' },
  pod: POD,
};
const NO_LABELS: Workload = { ...IN_POD, pod: { ...POD, labels: null } };
const NO_OWNERS: Workload = { ...IN_POD, pod: { ...POD, owners: null } };

const CASES: [what: string, select: Partial<SelectConfig>, workload: Workload, fit: Fit][] = [
  ['nothing asked for', {}, NOWHERE, 'yes'],
  ['executable, its file replaced', { executables: ['/bin/sh?p'] }, NOWHERE, 'yes'],
  ['another executable', { executables: ['/bin/other'] }, NOWHERE, 'no'],
  ['one of two', { executables: ['/bin/other', '*/shop'] }, NOWHERE, 'yes'],
  ['command line', { commands: ['*--role api*'] }, NOWHERE, 'yes'],
  ['another command line', { commands: ['*--role worker*'] }, NOWHERE, 'no'],
  ['service', { services: ['check*'] }, NOWHERE, 'yes'],
  ['all kinds must hold', { services: ['check*'], commands: ['x'] }, NOWHERE, 'no'],
  ['image', { containerImages: ['registry/shop:*'] }, IN_POD, 'yes'],
  ['image of none', { containerImages: ['*'] }, NOWHERE, 'no'],
  ['container', { containerNames: ['app'] }, IN_POD, 'yes'],
  ['namespace', { namespaces: ['prod'] }, IN_POD, 'yes'],
  ['namespace outside of a pod', { namespaces: ['*'] }, NOWHERE, 'no'],
  ['labels', { labels: { app: 'sh*', tier: 'web' } }, IN_POD, 'yes'],
  ['a label that is not there', { labels: { zone: '*' } }, IN_POD, 'no'],
  ['owner above the owner', { owners: ['Deployment/checkout'] }, IN_POD, 'yes'],
  ['another owner', { owners: ['DaemonSet/*'] }, IN_POD, 'no'],
  ['labels not known yet', { labels: { app: 'shop' } }, NO_LABELS, 'unknown'],
  ['owners not known yet', { owners: ['*/x'] }, NO_OWNERS, 'unknown'],
  ['what is known', { namespaces: ['dev'], labels: { app: 'shop' } }, NO_LABELS, 'no'],
];

for (const [what, select, workload, fit] of CASES) {
  test(`a selection by ${what}: ${fit}`, () => {
    const config = { ...NOTHING, ...select };
    assert.equal(selectsOf(config, procfs(), workloads(workload)).fits(PID), fit);
  });
}

test('a process may say for a while after its start which service it is', () => {
  const fit = (ageS: number, more: Partial<SelectConfig> = {}): Fit => {
    const config = { ...NOTHING, services: ['other'], ...more };
    return selectsOf(config, procfs(ageS), workloads(NOWHERE)).fits(PID);
  };
  assert.equal(fit(5), 'not yet');
  assert.equal(fit(5, { namespaces: ['prod'] }), 'no');
  assert.equal(fit(31), 'no');
});

test('nobody waits for ever for what a pod is known to be', () => {
  const config: SelectConfig = { ...NOTHING, labels: { app: 'shop' } };
  // As long as the machine is up: it cannot be older.
  assert.equal(selectsOf(config, procfs(uptime()), workloads(NO_LABELS)).fits(PID), 'no');
});

test('a process that is gone, and the agent itself, fall under no rule', () => {
  assert.equal(selectsOf(NOTHING, procfs(), workloads(NOWHERE)).fits(1), 'no');
  assert.equal(selectsOf(NOTHING, new Procfs(), workloads(NOWHERE)).fits(process.pid), 'no');
});

test('a rule reaches all processes of an executable if it asks for nothing else', () => {
  const reach = (select: Partial<SelectConfig>): Reach =>
    selectsOf({ ...NOTHING, ...select }, procfs(), workloads(NOWHERE)).reach(TARGET);
  assert.equal(reach({ executables: ['/bin/shop'] }), 'all');
  assert.equal(reach({ executables: ['/bin/other'] }), 'none');
  assert.equal(reach({ executables: ['/bin/shop'], services: ['checkout'] }), 'some');
  assert.equal(reach({ services: ['checkout'] }), 'some');
});

test('how the file names begin that a glob means', () => {
  assert.equal(nameBeginsWith('/usr/bin/shop'), 'shop');
  assert.equal(nameBeginsWith('/opt/*/shop-*'), 'shop-');
  assert.equal(nameBeginsWith('*/sh[ao]p'), 'sh');
  assert.equal(nameBeginsWith('/opt/shop/*'), '');
  assert.equal(nameBeginsWith('*shop'), '');
});
