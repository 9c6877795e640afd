import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Call, hasFailed, type OpenCall } from '../../src/spans/call.js';
import { CallEnd, ParentKind } from '../../src/spans/records.generated.js';
import { type TreeFilter, TreeKeeper, type TreeKeeperOptions } from '../../src/spans/trees.js';

const SECOND = 1_000_000_000n;

/** A small generator of random numbers that can be repeated (mulberry32). */
function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface Frame extends OpenCall {
  treeSpans: number;
  treeLost: number;
}

/** A program with one goroutine after another's calls, a ring that loses, and a keeper. */
class World {
  now = 0n;
  readonly released: Call[] = [];
  readonly batches: (readonly Call[])[] = [];
  readonly lost = { torn: 0, filtered: 0, folded: 0, undecided: 0 };
  delivered = 0;
  /** Records in the ring. */
  ring: Call[] = [];
  readonly stacks = new Map<bigint, Frame[]>();
  readonly keeper: TreeKeeper;
  private ids = 0;

  constructor(options: Partial<TreeKeeperOptions & TreeFilter> = {}) {
    const { slowerThanNs = null, errorsOnly = false, minDurationNs = 0, fold = 0 } = options;
    this.keeper = new TreeKeeper({
      filterOf: () => ({ slowerThanNs, errorsOnly, minDurationNs, span: null, fold }),
      openCalls: (stack) => this.stacks.get(stack)?.map((frame) => ({ ...frame })) ?? null,
      drained: async () => {
        this.deliver(this.ring.length);
      },
      release: (tree) => {
        this.batches.push(tree);
        this.released.push(...tree);
      },
      lost: (reason, _function, count) => {
        this.lost[reason] += count;
      },
      now: () => this.now,
      ...options,
    });
  }

  enter(stack: bigint, ofProgram = false): Frame {
    const frames = this.stacks.get(stack) ?? [];
    this.stacks.set(stack, frames);
    const above = frames.at(-1);
    const spanId = (++this.ids).toString(16).padStart(16, '0');
    const frame: Frame = {
      traceId: '0'.repeat(31) + '1',
      spanId,
      treeId: frames[0]?.spanId ?? spanId,
      parentId: above && !ofProgram ? above.spanId : 'ffffffffffffffff',
      parentKind: above && !ofProgram ? ParentKind.CALL : ParentKind.PROGRAM,
      traceFlags: 1,
      source: 1,
      startNs: this.now,
      descendants: 0,
      function: 1 + (this.ids % 3),
      treeSpans: 0,
      treeLost: 0,
    };
    frames.push(frame);
    return frame;
  }

  /** `fate` of the record: sent, not fitting the ring, or never made at all. */
  leave(stack: bigint, fate: 'sent' | 'lost' | 'unpaired' = 'sent', error = false): void {
    const frames = this.stacks.get(stack) ?? [];
    const frame = frames.pop();
    if (!frame) return;
    const around = frames.at(-1);
    if (around) around.descendants += frame.descendants + 1;
    const outermost = frames[0] ?? frame;
    if (frames.length === 0) this.stacks.delete(stack);
    if (fate === 'lost') outermost.treeLost++;
    if (fate !== 'sent') return;
    outermost.treeSpans++;
    this.ring.push({
      ...frame,
      treeId: outermost.spanId,
      end: error ? CallEnd.PANICKED : CallEnd.RETURNED,
      depth: frames.length,
      durationNs: Number(this.now - frame.startNs),
      tgid: 42,
      tid: 42,
      stack,
      goroutineId: Number(stack),
      treeSpans: frame === outermost ? frame.treeSpans : 0,
      treeLost: frame === outermost ? frame.treeLost : 0,
      failed: false,
      values: null,
      waits: null,
      waitsKnown: false,
      fold: null,
      incomplete: false,
      unclosed: false,
    });
  }

  deliver(count: number): void {
    for (const call of this.ring.splice(0, count)) {
      this.delivered++;
      this.keeper.add(call);
    }
  }

  /** What must hold whatever happens. */
  check(): void {
    const ids = new Set(this.released.map((call) => call.spanId));
    assert.equal(ids.size, this.released.length, 'a span went out twice');
    for (const call of this.released) {
      if (call.parentKind !== ParentKind.CALL) continue;
      assert.ok(ids.has(call.parentId), `the parent of ${call.spanId} never went out`);
    }
    const records = this.released.filter((call) => !call.unclosed).length;
    const { torn, filtered, folded } = this.lost;
    assert.equal(records + torn + filtered + folded, this.delivered);
    assert.equal(this.keeper.held, 0);
  }
}

async function randomWorld(
  seed: number,
  options: Partial<TreeKeeperOptions & TreeFilter>,
  losses: number,
): Promise<World> {
  const random = randomNumbers(seed);
  const world = new World(options);
  const stacks = 1 + Math.floor(random() * 4);
  // Some worlds consist of short trees, some of loops that never return.
  const lingering = random() < 0.5;
  for (let step = 0; step < 400; step++) {
    const stack = BigInt(1 + Math.floor(random() * stacks));
    const depth = world.stacks.get(stack)?.length ?? 0;
    const choice = random();
    if (choice < 0.4 && depth < 12) {
      world.enter(stack, random() < 0.1);
    } else if (choice < 0.8 && depth > (lingering && step < 380 ? 2 : 0)) {
      const fate = random() >= losses ? 'sent' : random() < 0.7 ? 'lost' : 'unpaired';
      world.leave(stack, fate, random() < 0.1);
    } else if (choice < 0.9) {
      if (random() < 0.5) world.ring.sort(() => random() - 0.5);
      world.deliver(Math.floor(random() * (world.ring.length + 1)));
    } else {
      world.now += BigInt(Math.floor(random() * 1.5e9));
      await world.keeper.tick();
    }
    world.now += 1000n;
  }
  world.deliver(world.ring.length);
  await world.keeper.finish(world.now);
  return world;
}

for (const [name, options] of [
  ['no filter', {}],
  ['slower', { slowerThanNs: 1e9 }],
  ['errors', { errorsOnly: true }],
  ['folded', { fold: 2 }],
  ['slower, folded', { slowerThanNs: 1e6, fold: 1 }],
  ['folded, little room', { fold: 3, maxHeld: 12, maxHeldOfTree: 7 }],
  ['little room', { maxHeld: 12, maxHeldOfTree: 7 }],
  ['slower, little room', { slowerThanNs: 1e6, maxHeld: 12, maxHeldOfTree: 7 }],
] as const) {
  test(`random trees, losses and orders, ${name}`, async () => {
    for (let seed = 1; seed <= 300; seed++) {
      const world = await randomWorld(seed, options, seed % 3 === 0 ? 0 : 0.15);
      try {
        world.check();
      } catch (error) {
        throw new Error(`seed ${seed}: ${String(error)}`, { cause: error });
      }
    }
  });
}

test('where nothing is lost nothing is dropped', async () => {
  for (let seed = 1; seed <= 200; seed++) {
    const world = await randomWorld(seed, {}, 0);
    world.check();
    assert.deepEqual(world.lost, { torn: 0, filtered: 0, folded: 0, undecided: 0 }, `seed ${seed}`);
    const incomplete = world.released.filter((call) => call.incomplete && !call.unclosed);
    assert.deepEqual(incomplete, [], `seed ${seed}`);
  }
});

test('a tree goes out at once and whole when its outermost call has come', () => {
  const world = new World();
  world.enter(1n);
  world.enter(1n);
  world.enter(1n);
  world.leave(1n);
  world.leave(1n);
  world.deliver(2);
  assert.equal(world.batches.length, 0);
  assert.equal(world.keeper.held, 2);
  world.leave(1n);
  world.deliver(1);
  assert.deepEqual(
    world.batches.map((batch) => batch.length),
    [3],
  );
  assert.ok(world.released.every((call) => !call.incomplete));
});

test('beneath a lost record all is torn, and the outermost span says so', () => {
  const world = new World();
  const outermost = world.enter(1n);
  world.enter(1n);
  world.enter(1n);
  world.leave(1n); // hangs from a lost one
  world.leave(1n, 'lost');
  world.enter(1n);
  world.leave(1n);
  world.leave(1n);
  world.deliver(3);
  assert.deepEqual(world.lost, { torn: 1, filtered: 0, folded: 0, undecided: 0 });
  assert.equal(world.released.length, 2);
  assert.deepEqual(
    world.released.filter((call) => call.incomplete).map((call) => call.spanId),
    [outermost.spanId],
  );
  world.check();
});

test('a call beneath a span of the program outlives the loss of the calls around it', async () => {
  const world = new World();
  world.enter(1n);
  const free = world.enter(1n, true);
  world.leave(1n);
  world.leave(1n, 'lost');
  world.deliver(1);
  for (let second = 0; second < 4; second++) {
    world.now += SECOND;
    await world.keeper.tick();
  }
  assert.deepEqual(
    world.released.map((call) => [call.spanId, call.incomplete]),
    [[free.spanId, true]],
  );
});

test('a loop that does not return does not hold its calls for ever', async () => {
  const world = new World();
  const loop = world.enter(1n);
  world.enter(1n);
  world.leave(1n);
  world.deliver(1);
  world.now += 2n * SECOND;
  await world.keeper.tick();
  assert.equal(world.released.length, 1);
  world.enter(1n);
  world.leave(1n);
  world.deliver(1);
  assert.equal(world.released.length, 2, 'known to be open: the next one goes out at once');
  await world.keeper.finish(world.now);
  assert.equal(world.released.length, 3);
  const sent = world.released[2];
  assert.equal(sent?.spanId, loop.spanId);
  assert.ok(sent?.incomplete && sent.unclosed);
  assert.equal(BigInt(sent.durationNs), world.now - loop.startNs);
  world.check();
});

test('an owed call whose record was lost is sent all the same', async () => {
  const world = new World();
  world.enter(1n);
  const owed = world.enter(1n);
  world.enter(1n);
  world.leave(1n);
  world.deliver(1);
  world.now += 2n * SECOND;
  await world.keeper.tick();
  world.leave(1n, 'lost');
  for (let look = 0; look < 30; look++) {
    world.now += SECOND;
    await world.keeper.tick();
  }
  const sent = world.released.find((call) => call.spanId === owed.spanId);
  assert.ok(sent?.unclosed && sent.incomplete);
  world.leave(1n);
  world.deliver(1);
  assert.equal(world.released.at(-1)?.incomplete, true);
  world.check();
});

test('late filters: slower, an error, or either', () => {
  const run = (
    options: Partial<TreeKeeperOptions & TreeFilter>,
    ns: bigint,
    error: boolean,
  ): number => {
    const world = new World(options);
    world.enter(1n);
    world.enter(1n);
    world.leave(1n, 'sent', error);
    world.now += ns;
    world.leave(1n);
    world.deliver(2);
    world.check();
    return world.released.length;
  };
  assert.equal(run({ slowerThanNs: 1000 }, 1000n, true), 0);
  assert.equal(run({ slowerThanNs: 1000 }, 1001n, false), 2);
  assert.equal(run({ errorsOnly: true }, 5000n, false), 0);
  assert.equal(run({ errorsOnly: true }, 0n, true), 2);
  assert.equal(run({ errorsOnly: true, slowerThanNs: 1000 }, 0n, true), 2);
  assert.equal(run({ errorsOnly: true, slowerThanNs: 1000 }, 1001n, false), 2);
});

test('the oldest tree makes room', () => {
  const world = new World({ maxHeld: 10 });
  for (let stack = 1n; stack <= 12n; stack++) {
    world.enter(stack);
    world.enter(stack);
    world.leave(stack);
  }
  world.deliver(12);
  assert.ok(world.keeper.held <= 10);
  assert.equal(world.lost.torn, 12 - world.keeper.held);
});

/** Calls of one function beneath another, with one call beneath each. */
function repeat(world: World, count: number, ns: (index: number) => bigint): void {
  world.enter(1n);
  for (let index = 0; index < count; index++) {
    world.enter(1n).function = 7;
    world.enter(1n).function = 8;
    world.leave(1n, 'sent', index === count - 5);
    world.now += ns(index);
    world.leave(1n);
    world.deliver(2);
  }
}

const namesake = (fn: number) => (call: Call) => call.function === fn;

test('of siblings without number the first, the slowest and those with errors stay', () => {
  const world = new World({ fold: 20 });
  let most = 0;
  repeat(world, 20_000, (index) => {
    most = Math.max(most, world.keeper.held);
    return index % 2_000 === 1_999 ? 1_000n + BigInt(index) : 10n;
  });
  world.leave(1n);
  world.deliver(1);
  world.check();
  assert.ok(most < 2_500, `${most} were held`);
  const siblings = world.released.filter(namesake(7));
  const folds = siblings.filter(({ fold }) => fold);
  assert.deepEqual(
    folds.map(({ fold, startNs, durationNs }) => [fold, startNs, startNs + BigInt(durationNs)]),
    [
      [
        {
          count: 19_980,
          totalNs: 19_973 * 10 + (7 * (2_999 + 14_999)) / 2,
          slowestNs: 14_999,
          fastestNs: 10,
          failures: 0,
        },
        160n,
        // The last of all is one of the slowest.
        world.now - 20_999n,
      ],
    ],
  );
  const slow = siblings.filter(({ durationNs, fold }) => durationNs > 10 && !fold);
  assert.deepEqual(
    slow.map(({ durationNs }) => durationNs),
    [16_999, 18_999, 20_999],
  );
  assert.equal(siblings.length, 21);
  assert.equal(siblings.filter(({ spanId }) => beneath(world, spanId).some(hasFailed)).length, 1);
  assert.equal(world.released.filter(namesake(8)).length, 20, 'what ran beneath those that stay');
  assert.equal(world.lost.folded, 40_001 - world.released.length);
  assert.ok(world.released.every(({ incomplete }) => !incomplete));
});

const beneath = (world: World, id: string): Call[] =>
  world.released.filter(({ parentId }) => parentId === id);

test('twenty alike are not folded, nor any where nobody wants it', () => {
  for (const [fold, count] of [
    [20, 20],
    [0, 100],
  ] as const) {
    const world = new World({ fold });
    repeat(world, count, () => 10n);
    world.leave(1n);
    world.deliver(1);
    world.check();
    assert.equal(world.lost.folded, 0);
    assert.equal(world.released.length, 2 * count + 1);
  }
});

test('failures without number are folded too, and the fold says how many they were', () => {
  const world = new World({ fold: 5 });
  world.enter(1n);
  for (let index = 0; index < 100; index++) {
    world.enter(1n).function = 7;
    world.leave(1n, 'sent', true);
  }
  world.leave(1n);
  world.deliver(101);
  world.check();
  const siblings = world.released.filter(namesake(7));
  assert.equal(siblings.length, 10);
  const standing = siblings.find(({ fold }) => fold);
  assert.deepEqual(
    [standing?.fold?.count, standing?.fold?.failures, standing?.failed],
    [91, 91, true],
  );
});

test('what comes after the call around it was folded away goes with it', () => {
  const world = new World({ fold: 1 });
  world.enter(1n);
  for (let index = 0; index < 3_000; index++) {
    world.enter(1n).function = 7;
    world.enter(1n).function = 8;
    world.enter(1n).function = 9;
    world.leave(1n);
    world.leave(1n);
    world.leave(1n);
  }
  world.leave(1n);
  // Calls before those beneath them, the outermost last.
  world.ring.sort((a, b) => (a.depth === 0 ? 1 : b.depth === 0 ? -1 : a.depth - b.depth));
  world.deliver(9_001);
  world.check();
  assert.deepEqual(
    world.released.map(({ function: fn, fold }) => [fn, fold?.count ?? 1]).sort(),
    [
      [world.released.find(({ depth }) => depth === 0)?.function, 1],
      [7, 3_000],
    ].sort(),
  );
  assert.equal(world.lost.torn, 0);
});

test('beneath a call that runs on, each look has its own fold', async () => {
  const world = new World({ fold: 10 });
  world.enter(1n);
  let before = 0;
  for (let look = 0; look < 3; look++) {
    for (let index = 0; index < 1_000; index++) {
      world.enter(1n).function = 7;
      world.now += 10n;
      world.leave(1n);
      world.deliver(1);
    }
    assert.ok(world.keeper.held > 900 || look === 0);
    world.now += 2n * SECOND;
    await world.keeper.tick();
    assert.equal(world.keeper.held, 0);
    const sent = world.released.slice(before);
    before = world.released.length;
    assert.ok(sent.length <= 20, `${sent.length} at look ${look}`);
    const calls = sent.reduce((sum, { fold }) => sum + (fold?.count ?? 1), 0);
    assert.equal(calls, 1_000);
  }
  world.leave(1n);
  world.deliver(1);
  world.check();
});
