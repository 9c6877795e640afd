import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Followed } from '../../src/session/followed.js';
import type { Holds } from '../../src/session/holds.js';
import type { Modules } from '../../src/session/modules.js';
import type { OpenStackCalls } from '../../src/session/open-calls.js';
import type { ProbedModule } from '../../src/session/probed-module.js';
import type { ProcessResources } from '../../src/session/resources.js';
import type { Fit, Reach, TraceRule } from '../../src/session/rule.js';
import type { Session } from '../../src/session/session.js';
import type { Trampolines } from '../../src/session/trampolines.js';
import { ProcessEvent } from '../../src/spans/records.generated.js';
import type { Procfs } from '../../src/targets/procfs.js';
import type { Target } from '../../src/targets/target.js';

function rule(id: string, fit: (pid: number) => Fit, reach: Reach): TraceRule {
  return {
    id,
    name: id,
    fits: fit,
    reach: () => reach,
    hold: [],
    request: { patterns: [], values: { args: [] } },
    followExecs: false,
    followForks: false,
  } as unknown as TraceRule;
}

const always = (): Fit => 'yes';

/** Processes by pid, each with when it began; all run the same executable. */
class FakeProcfs {
  readonly running = new Map<number, number>();

  pids = (): number[] => [...this.running.keys()];
  stat = (pid: number): object => {
    const startTime = this.running.get(pid);
    if (startTime === undefined) throw Object.assign(new Error('gone'), { code: 'ENOENT' });
    return { comm: 'shop', state: 'S', parent: 1, flags: 0, startTime };
  };
  status = (): Map<string, string> => new Map();
  exe = (): string => '/bin/shop';
  path = (pid: number): string => `/proc/${pid}/exe`;
  exeFileId = (): string => '1:2';
  argv = (): string[] => ['shop'];
}

/** Plans when it is told to, and knows which processes are linked to which probes. */
class FakeModules {
  readonly probed = new Map<string, ProbedModule>();
  readonly removed: string[] = [];
  /** By rule: what its executable waits for before it is planned. */
  readonly planning = new Map<TraceRule, Promise<void>>();
  /** Processes to which nothing can be attached. */
  readonly closed = new Set<number>();
  /** What the kernel waits for before a link is closed. */
  closing: Promise<void> = Promise.resolve();
  dueNow: { probed: ProbedModule; why: 'idle' | 'reload' }[] = [];

  get all(): Iterable<ProbedModule> {
    return this.probed.values();
  }
  find = ({ id }: TraceRule): ProbedModule | null => this.probed.get(id) ?? null;
  readonly barren = { problem: (): null => null, pardon: (): boolean => false };
  ended = (): [] => [];
  due = (): object[] => this.dueNow;
  need = async (of: TraceRule, target: Target, whole: boolean): Promise<ProbedModule> => {
    await this.planning.get(of);
    let probed = this.probed.get(of.id);
    if (!probed) {
      const attachment = { isAttached: () => false, plan: { kind: 'go', functions: [] } };
      const { exe, fileId } = target;
      probed = {
        rule: of,
        exe,
        fileId,
        whole,
        pids: new Set(),
        attachment,
      } as unknown as ProbedModule;
      this.probed.set(of.id, probed);
    }
    return probed;
  };
  readonly links = {
    link: async (probed: ProbedModule, { pid }: Target): Promise<void> => {
      if (this.closed.has(pid)) throw new Error('no such process');
      probed.pids.add(pid);
    },
    unlink: async (probed: ProbedModule, pid: number): Promise<void> => {
      await this.closing;
      probed.pids.delete(pid);
    },
    arm: async (): Promise<void> => undefined,
  };
  remove = async (probed: ProbedModule): Promise<void> => {
    this.probed.delete(probed.rule.id);
    this.removed.push(probed.rule.id);
  };
  forget = async (): Promise<void> => undefined;

  /** Rules by whose probes a process is traced. */
  rulesOf(pid: number): string[] {
    return [...this.probed.values()].filter(({ pids }) => pids.has(pid)).map((p) => p.rule.id);
  }
}

class World {
  readonly procfs = new FakeProcfs();
  readonly modules = new FakeModules();
  readonly exited: [pid: number, open: number][] = [];
  readonly notices: string[] = [];
  readonly forgotten: number[] = [];
  open: OpenStackCalls[] = [];
  lost = 0;
  readonly followed: Followed;

  constructor(rules: readonly TraceRule[]) {
    const session = {
      targets: { add: () => undefined, remove: () => undefined },
      drain: () => Promise.resolve(),
      lostEvents: () => this.lost,
      allOpenCalls: () => Promise.resolve(this.open),
      openCallsOf: (pid: number) => Promise.resolve(this.open.filter(({ tgid }) => tgid === pid)),
      forget: (open: OpenStackCalls[]) => (this.open = this.open.filter((o) => !open.includes(o))),
    };
    const nothing = (): void => undefined;
    this.followed = new Followed({
      session: session as unknown as Session,
      modules: this.modules as unknown as Modules,
      resources: {
        delete: (pid: number) => this.forgotten.push(pid),
        keepFor: nothing,
      } as unknown as ProcessResources,
      threadContexts: { find: () => Promise.resolve(null) },
      holds: {
        set: nothing,
        note: nothing,
        release: nothing,
        close: nothing,
        forgetPasses: () => Promise.resolve(),
      } as unknown as Holds,
      trampolines: {} as unknown as Trampolines,
      procfs: this.procfs as unknown as Procfs,
      rules,
      watchesExecs: true,
      idleMs: Infinity,
      onNotice: ({ code }) => this.notices.push(code),
      onExited: async (pid, _, open) => void this.exited.push([pid, open.length]),
      onEmpty: nothing,
    });
  }

  tell(event: number, tgid: number): void {
    this.followed.handle({
      timeNs: 0n,
      event,
      tgid,
      parentTgid: 0,
      device: 0n,
      inode: 0n,
      changedNs: 0n,
      held: false,
      exitCode: 0,
    });
  }

  async run(pid: number): Promise<void> {
    this.procfs.running.set(pid, pid);
    this.tell(ProcessEvent.EXECUTED, pid);
    await this.followed.settled();
  }
}

test('a process whose rule goes while its executable is planned is traced by the new rule alone', async () => {
  const [before, after] = [rule('before', always, 'some'), rule('after', always, 'some')];
  const world = new World([before]);
  let planned!: () => void;
  world.modules.planning.set(before, new Promise((resolve) => (planned = resolve)));
  world.procfs.running.set(7, 7);
  world.tell(ProcessEvent.EXECUTED, 7);
  await world.followed.setRules([after]);
  planned();
  await world.followed.settled();
  assert.deepEqual(world.modules.rulesOf(7), ['after']);
  assert.deepEqual([...world.modules.probed.keys()], ['after']);
});

test('a process that falls under another rule with its next exec is never traced by both', async () => {
  let name = 'one';
  const rules = ['one', 'two'].map((id) => rule(id, () => (name === id ? 'yes' : 'no'), 'some'));
  const world = new World(rules);
  await world.run(7);
  assert.deepEqual(world.modules.rulesOf(7), ['one']);
  let close!: () => void;
  world.modules.closing = new Promise((resolve) => (close = resolve));
  name = 'two';
  world.tell(ProcessEvent.EXECUTED, 7);
  for (let turn = 0; turn < 10; turn++) await new Promise(setImmediate);
  assert.deepEqual(world.modules.rulesOf(7), ['one']);
  close();
  await world.followed.settled();
  assert.deepEqual(world.modules.rulesOf(7), ['two']);
});

test('an executable that was to be traced whole is not, if a new rule may have some of its processes', async () => {
  const kept = rule('kept', always, 'all');
  const narrow = rule('narrow', (pid) => (pid === 8 ? 'yes' : 'no'), 'some');
  const world = new World([kept]);
  let planned!: () => void;
  world.modules.planning.set(kept, new Promise((resolve) => (planned = resolve)));
  world.procfs.running.set(7, 7);
  world.tell(ProcessEvent.EXECUTED, 7);
  await world.followed.setRules([narrow, kept]);
  planned();
  await world.followed.settled();
  await world.run(8);
  assert.deepEqual(world.modules.rulesOf(7), ['kept']);
  assert.deepEqual(world.modules.rulesOf(8), ['narrow']);
  assert.equal(world.modules.probed.get('kept')?.whole, false);
});

test('probes that wait for the next process of an executable go where a new rule may have some', async () => {
  const kept = rule('kept', always, 'all');
  const world = new World([kept]);
  await world.run(7);
  world.tell(ProcessEvent.EXITED, 7);
  await world.followed.settled();
  assert.equal(world.modules.probed.get('kept')?.whole, true);
  await world.followed.setRules([rule('narrow', () => 'no', 'some'), kept]);
  assert.deepEqual(world.modules.removed, ['kept']);
});

test('a process that ends during a reload keeps no other from its new rule', async () => {
  const [before, after] = [rule('before', always, 'some'), rule('after', always, 'some')];
  const world = new World([before]);
  for (const pid of [7, 8, 9]) await world.run(pid);
  world.modules.closed.add(7);
  await world.followed.setRules([after]);
  assert.deepEqual(
    [7, 8, 9].map((pid) => world.modules.rulesOf(pid)),
    [[], ['after'], ['after']],
  );
  assert.deepEqual(world.notices.filter((code) => code === 'PROCESS_NOT_FOLLOWED').length, 1);
});

test('the calls of a process that was gone before it was looked at end all the same', async () => {
  const world = new World([rule('whole', always, 'all')]);
  await world.run(7);
  // As the kernel tells: an exec; and no exit, for it was no target.
  world.tell(ProcessEvent.EXECUTED, 66);
  world.open = [{ tgid: 66 } as OpenStackCalls, { tgid: 7 } as OpenStackCalls];
  await world.followed.settled();
  world.followed.check();
  await world.followed.settled();
  assert.deepEqual(world.exited, [[66, 1]]);
  assert.deepEqual(
    world.open.map(({ tgid }) => tgid),
    [7],
  );
  assert.ok(world.forgotten.includes(66));
});

test('an exit that is noticed late does not end another process with its pid', async () => {
  const world = new World([rule('some', always, 'some')]);
  await world.run(7);
  // The pid is another's; both records are still to be read when somebody looks.
  world.procfs.running.set(7, 70);
  world.tell(ProcessEvent.EXITED, 7);
  world.tell(ProcessEvent.EXECUTED, 7);
  world.followed.check();
  await world.followed.settled();
  assert.equal(world.followed.targetOf(7)?.startTime, 70);
  assert.deepEqual(world.modules.rulesOf(7), ['some']);
});

test('of lost events, one of a process with a pid and an executable that were there before', async () => {
  const world = new World([rule('some', always, 'some')]);
  await world.run(7);
  world.procfs.running.set(7, 70);
  world.lost = 2;
  world.followed.check();
  await world.followed.settled();
  assert.equal(world.followed.targetOf(7)?.startTime, 70);
  assert.deepEqual(world.modules.rulesOf(7), ['some']);
});

test('nothing is attached any more once it is closed', async () => {
  const only = rule('only', always, 'some');
  const world = new World([only]);
  let planned!: () => void;
  world.modules.planning.set(only, new Promise((resolve) => (planned = resolve)));
  world.procfs.running.set(7, 7);
  world.tell(ProcessEvent.EXECUTED, 7);
  await new Promise(setImmediate);
  world.followed.close();
  planned();
  await world.followed.settled();
  assert.deepEqual(world.modules.rulesOf(7), []);
});
