/** What becomes of calls and files when the probes of an executable are taken back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BootCache } from '../../src/native/boot-cache.js';
import type { Native } from '../../src/native/native.js';
import type { ModulePlan } from '../../src/plan/plan.js';
import type { Attachment } from '../../src/session/attachment.js';
import { HotFunctions } from '../../src/session/hot-functions.js';
import { Modules } from '../../src/session/modules.js';
import type { OpenStackCalls } from '../../src/session/open-calls.js';
import { type NamedFunction, Pipeline } from '../../src/session/pipeline.js';
import type { ProbedModule } from '../../src/session/probed-module.js';
import type { TraceRule } from '../../src/session/rule.js';
import type { Session } from '../../src/session/session.js';
import type { OpenCall } from '../../src/spans/call.js';
import {
  allocationKey,
  callRecord,
  openCall,
  ParentKind,
  recordHeader,
  RecordKind,
} from '../../src/spans/records.generated.js';
import type { FunctionSpan } from '../../src/spans/span.js';
import type { Target } from '../../src/targets/target.js';

const RULE = {
  id: 'rule',
  name: 'rule',
  request: { values: { args: [] }, maxFunctions: 10, patterns: [] },
  options: { allocations: true },
  followForks: false,
} as unknown as TraceRule;
const TARGET = {
  pid: 7,
  file: process.execPath,
  exe: '/bin/shop',
  fileId: '1:2',
} as unknown as Target;
const PLAN = {
  functions: [
    { entry: { address: 0x1000 }, returns: [] },
    { entry: { address: 0x2000 }, returns: [] },
  ],
  support: [],
  claimed: new Set(),
  refused: [],
  module: {
    facts: { positionIndependent: false, buildId: 'abc', stamp: '' },
    close: () => undefined,
  },
} as unknown as ModulePlan;

/** On a goroutine of a process, with calls of these functions open. */
function goroutine(tgid: number, ...functions: number[]): OpenStackCalls {
  const calls = functions.map((number) => {
    const call = Buffer.alloc(openCall.size);
    call.writeUInt32LE(number, openCall.function);
    return call;
  });
  return { key: Buffer.alloc(16), tgid, goroutineId: 1n, calls };
}

const allocationKeys = (...functions: number[]): Buffer =>
  Buffer.concat(
    functions.map((number) => {
      const key = Buffer.alloc(allocationKey.size);
      key.writeUInt32LE(number, allocationKey.function);
      return key;
    }),
  );

class World {
  /** Functions whose stacks of allocations were taken out. */
  readonly stacksDeleted: number[] = [];
  leased = 0;
  closed = 0;
  links: (number | null)[] = [];
  /** Functions that were to come last. */
  readonly last: number[] = [];
  open: OpenStackCalls[] = [];
  readonly removed: OpenStackCalls[][] = [];
  readonly suspended: OpenStackCalls[][] = [];
  readonly forgotten: OpenStackCalls[] = [];
  readonly modules: Modules;

  constructor(uprobeMultiThreads: boolean, leases = true, hot: HotFunctions | null = null) {
    const attachment = {
      plan: PLAN,
      firstFunction: 3,
      number: 1,
      has: (index: number) => index === 3 || index === 4,
      attach: async (_: string, pid: number | null, last: ReadonlySet<number>) => {
        this.links.push(pid);
        this.last.push(...last);
      },
      isAttached: (pid: number | null) => this.links.includes(pid) || this.links.includes(null),
      detach: () => {
        this.links = [];
        return Promise.resolve();
      },
      detachEntries: () => Promise.resolve(),
    } as unknown as Attachment;
    const session = {
      features: { uprobeMulti: true, uprobeMultiThreads },
      room: 10,
      addRule: () =>
        Promise.resolve({
          maps: {
            http_requests: { entries: () => Promise.resolve({ keys: Buffer.alloc(0) }) },
            allocation_stacks: {
              entries: () => Promise.resolve({ keys: allocationKeys(2, 3, 4, 5) }),
              delete: (key: Buffer) =>
                this.stacksDeleted.push(key.readUInt32LE(allocationKey.function)),
            },
          },
          close: () => undefined,
        }),
      add: () => Promise.resolve(attachment),
      remove: () => undefined,
      whileAttaching: (_: unknown, attach: () => Promise<void>) => attach(),
      targets: { addModule: () => true, removeModule: () => undefined },
      drain: () => Promise.resolve(),
      allOpenCalls: () => Promise.resolve(this.open),
      forget: (open: OpenStackCalls[]) => void this.forgotten.push(...open),
    };
    const leaseFile = (): object => {
      if (!leases) throw new Error('no leases here');
      this.leased++;
      return { isBroken: () => false, close: () => this.closed++ };
    };
    this.modules = new Modules({
      native: { leaseFile } as unknown as Native,
      session: session as unknown as Session,
      crashes: null,
      hot,
      onAdded: () => undefined,
      onSuspended: async (_, open) => void this.suspended.push([...open]),
      onNotice: () => undefined,
      onRemoved: async (_, open) => void this.removed.push([...open]),
    });
  }

  async attached(whole: boolean): Promise<ProbedModule> {
    const probed = await this.modules.need(RULE, TARGET, whole, PLAN);
    assert.ok(probed);
    await this.modules.links.link(probed, TARGET);
    return probed;
  }
}

test('probes that are taken back for a while come back, also to who came meanwhile', async () => {
  for (const [shared, links] of [
    [false, [7, 8]],
    [true, [null]],
  ] as const) {
    const world = new World(!shared);
    const probed = await world.attached(false);
    world.open = [goroutine(7, 3), goroutine(9, 77)];
    await world.modules.suspend(probed);
    assert.deepEqual(world.links, []);
    assert.deepEqual(world.suspended, [[world.open[0]]]);
    assert.deepEqual(world.forgotten, [world.open[0]]);
    await world.modules.links.link(probed, { ...TARGET, pid: 8 });
    assert.deepEqual(world.links, []);
    await world.modules.resume(probed);
    assert.deepEqual(world.links, links);
    assert.deepEqual(world.removed, []);
  }
});

test('probes that are away may go for good', async () => {
  const world = new World(true);
  const probed = await world.attached(false);
  await world.modules.suspend(probed);
  await world.modules.remove(probed, 'idle');
  await world.modules.resume(probed);
  assert.deepEqual(world.links, []);
});

test('what was too dear in the same file is attached last', async () => {
  const hot = new HotFunctions(new BootCache('', null));
  hot.add(PLAN.module.facts, TARGET.exe, [0x2000, 0x5000]);
  const world = new World(true, false, hot);
  await world.attached(false);
  assert.deepEqual(world.last, [4]);
});

test('a file is guarded wherever probes in it outlive its processes', async () => {
  for (const [ofProcesses, whole, pid, leased] of [
    [true, false, 7, 0],
    [true, true, null, 1],
    [false, false, null, 1],
    [false, true, null, 1],
  ] as const) {
    const world = new World(ofProcesses);
    const probed = await world.attached(whole);
    assert.deepEqual(world.links, [pid]);
    assert.equal(world.leased, leased, `${ofProcesses} ${whole}`);
    await world.modules.remove(probed, 'idle');
    assert.equal(world.closed, leased);
  }
});

test('where it cannot be guarded, probes do not wait for its next process', async () => {
  const world = new World(false, false);
  const probed = await world.attached(false);
  await world.modules.links.unlink(probed, TARGET.pid);
  probed.idleSince = performance.now() - 600;
  assert.deepEqual(world.modules.due(60_000), [{ probed, why: 'idle' }]);
});

test('where its calls allocated goes with the probes', async () => {
  const world = new World(true);
  const probed = await world.attached(false);
  await world.modules.remove(probed, 'idle');
  assert.deepEqual(world.stacksDeleted, [3, 4]);
});

test('what is open in processes that nobody has linked ends with the probes', async () => {
  const world = new World(true);
  const probed = await world.attached(true);
  const mine = [goroutine(7), goroutine(8, 4)];
  world.open = [...mine, goroutine(9, 2), goroutine(10, 5)];
  await world.modules.remove(probed, 'idle');
  assert.deepEqual(world.removed, [mine]);
});

test('whatever goes wrong, whoever waits to write to the file does not wait longer', async () => {
  const world = new World(true);
  const probed = await world.attached(true);
  probed.attachment.detachEntries = () => Promise.reject(new Error('no'));
  await assert.rejects(world.modules.remove(probed, 'file-changed'));
  assert.equal(world.closed, 1);
});

const id = (number: number): string => number.toString(16).padStart(16, '0');

/** A call beneath an outermost one that is still open. */
function child(tgid: number, functionIndex: number): Buffer {
  const record = Buffer.alloc(callRecord.size);
  record.writeUInt32LE(RecordKind.CALL, recordHeader.kind);
  record.writeUInt32LE(record.length, recordHeader.sizeField);
  record.write(id(tgid + 100), callRecord.spanId, 'hex');
  record.write(id(tgid), callRecord.parentId, 'hex');
  record.write(id(tgid), callRecord.treeId, 'hex');
  record.writeUInt32LE(tgid, callRecord.tgid);
  record.writeUInt32LE(functionIndex, callRecord.function);
  record.writeUInt8(ParentKind.CALL, callRecord.parentKind);
  return record;
}

const outermost = (tgid: number, functionIndex: number): OpenCall => ({
  traceId: id(tgid) + id(tgid),
  spanId: id(tgid),
  parentId: id(0),
  parentKind: ParentKind.NONE,
  traceFlags: 1,
  source: 0,
  startNs: 0n,
  descendants: 1,
  function: functionIndex,
  treeId: id(tgid),
});

test('modules that are taken back at once do not count what the others send', async () => {
  const spans: string[] = [];
  const pipeline = new Pipeline({
    sinks: [
      {
        spans: (tree: readonly FunctionSpan[]) => void spans.push(...tree.map((s) => s.spanId)),
        close: () => Promise.resolve(),
      },
    ],
    functions: [undefined, { name: 'a' }, { name: 'b' }, { name: 'c' }] as NamedFunction[],
    clockOffsetNs: 0n,
    resource: () => ({ attributes: {} }),
    openCalls: (_, tgid) => [outermost(tgid, tgid)],
    drained: () => Promise.resolve(),
    onProcess: () => undefined,
    onTracer: () => undefined,
  });
  for (const number of [1, 2, 3]) pipeline.batch(child(number, number));
  const end = (number: number): Promise<void> =>
    pipeline.finish(
      10n,
      [{ stack: 0n, goroutineId: 1, calls: [outermost(number, number)], silent: 0 }],
      (index) => index === number,
    );
  await Promise.all([end(1), end(2)]);
  assert.deepEqual(spans.sort(), [1, 2, 101, 102].map(id));
  assert.deepEqual(pipeline.lost, {
    torn: 0,
    filtered: 0,
    folded: 0,
    open: 0,
    undecided: 0,
  });
  assert.deepEqual(pipeline.unsent.slice(1, 3), [-1, -1]);
});
