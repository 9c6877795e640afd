import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BpfMap } from '../../src/native/native.js';
import {
  type CountedStack,
  forgetAllocationStacks,
  readAllocationRest,
  readAllocationStacks,
} from '../../src/session/allocation-stacks.js';
import { type AllocatingFunction, type FrameNames, hottest } from '../../src/session/hottest.js';
import type { Frame } from '../../src/sinks/sink.js';
import {
  allocationKey,
  allocationRest,
  allocationStack,
} from '../../src/spans/records.generated.js';

const NOTHING = { bytes: 0, samples: 0 };

const frame = (name: string, line: number): Frame => ({ function: name, file: 'a.go', line });

/** One module's code. */
function code(places: Record<number, Frame>): FrameNames {
  const loaded = new Set<number>();
  return {
    loadFrames: (addresses) => {
      for (const address of addresses) loaded.add(address);
      return Promise.resolve();
    },
    place: (address) => (loaded.has(address) ? (places[address] ?? null) : null),
  };
}

const MODULE = code({
  1: frame('runtime.mallocgc', 1),
  2: frame('runtime.newobject', 2),
  3: frame('internal/runtime/maps.newarray', 3),
  10: frame('main.help', 10),
  // The same line, by another instruction.
  11: frame('main.help', 10),
  12: frame('main.help', 12),
  20: frame('main.work', 20),
  30: frame('runtime.work', 30),
});

const FUNCTIONS: (AllocatingFunction | undefined)[] = [
  undefined,
  { name: 'main.work', addresses: MODULE },
  { name: 'runtime.work', addresses: MODULE },
];

const told = (counted: CountedStack[], rest = NOTHING): ReturnType<typeof hottest> =>
  hottest(counted, rest, (index) => FUNCTIONS[index]);

const stack = (
  functionIndex: number,
  bytes: number,
  frames: number[],
  isCut = false,
): CountedStack => ({ functionIndex, bytes, samples: 1, frames, isCut });

test('stacks that differ within the runtime, or within a line, are one', async () => {
  const { stacks, bytes, samples } = await told([
    stack(1, 100, [1, 2, 10, 20]),
    stack(1, 200, [1, 11, 20]),
    stack(1, 1_000, [3, 12, 20]),
  ]);
  assert.deepEqual(stacks, [
    {
      function: 'main.work',
      ...{ bytes: 1_000, samples: 1, cut: false },
      frames: [frame('main.help', 12), frame('main.work', 20)],
    },
    {
      function: 'main.work',
      ...{ bytes: 300, samples: 2, cut: false },
      frames: [frame('main.help', 10), frame('main.work', 20)],
    },
  ]);
  assert.deepEqual([bytes, samples], [1_300, 3]);
});

test('what is cut is another stack, and a traced function of the runtime has its own frame', async () => {
  const { stacks } = await told([
    stack(1, 3, [1, 10], true),
    stack(1, 2, [1, 10]),
    stack(2, 1, [1, 30]),
  ]);
  assert.deepEqual(
    stacks.map(({ function: name, cut, frames }) => [name, cut, frames]),
    [
      ['main.work', true, [frame('main.help', 10)]],
      ['main.work', false, [frame('main.help', 10)]],
      ['runtime.work', false, [frame('runtime.work', 30)]],
    ],
  );
});

test('frames outside of the code are left out, and so are functions that are gone', async () => {
  const { stacks, bytes } = await told([
    stack(1, 5, [1, 99, 10, 77, 20]),
    stack(1, 4, []),
    stack(0, 100, [1]),
    stack(7, 100, [1]),
  ]);
  assert.deepEqual(
    stacks.map(({ frames }) => frames),
    [[frame('main.help', 10), frame('main.work', 20)], []],
  );
  assert.equal(bytes, 9);
});

test('fifty are told, and how many there are besides', async () => {
  const places = Object.fromEntries(
    Array.from({ length: 60 }, (_, line) => [line, frame('main.many', line)]),
  );
  const many = { name: 'main.many', addresses: code(places) };
  const counted = Array.from({ length: 60 }, (_, line) => stack(1, line + 1, [line]));
  const told = await hottest(counted, { bytes: 70, samples: 3 }, () => many);
  assert.equal(told.stacks.length, 50);
  assert.deepEqual(told.stacks[0]?.frames, [frame('main.many', 59)]);
  assert.equal(told.others, 10);
  assert.deepEqual(told.uncounted, { bytes: 70, samples: 3 });
  assert.deepEqual([told.bytes, told.samples], [(60 * 61) / 2 + 70, 63]);
});

function fakeMap(): { map: BpfMap; deleted: number[] } {
  const keys = Buffer.alloc(2 * allocationKey.size);
  const values = Buffer.alloc(2 * allocationStack.size);
  [4, 5].forEach((functionIndex, index) => {
    const key = index * allocationKey.size;
    keys.writeUInt32LE(functionIndex, key + allocationKey.function);
    const value = index * allocationStack.size;
    values.writeBigUInt64LE(BigInt(1_000 + index), value + allocationStack.bytes);
    values.writeBigUInt64LE(BigInt(10 + index), value + allocationStack.samples);
    // The second says that it has more than there can be.
    values.writeUInt32LE(index === 0 ? 2 : 1 << 30, value + allocationStack.count);
    values.writeUInt32LE(index, value + allocationStack.cut);
    values.writeBigUInt64LE(0x401000n, value + allocationStack.frames);
    values.writeBigUInt64LE(0x402000n, value + allocationStack.frames + 8);
  });
  const rest = Buffer.alloc(allocationRest.size);
  rest.writeBigUInt64LE(7n, allocationRest.bytes);
  rest.writeBigUInt64LE(2n, allocationRest.samples);
  const deleted: number[] = [];
  const map = {
    entries: () => Promise.resolve({ keys, values }),
    read: () => rest,
    delete: (key: Buffer) => deleted.push(key.readUInt32LE(allocationKey.function)),
  } as unknown as BpfMap;
  return { map, deleted };
}

test("the kernel's elements, and what found no room", async () => {
  const { map } = fakeMap();
  const [first, second] = await readAllocationStacks(map);
  assert.deepEqual(first, {
    ...{ functionIndex: 4, bytes: 1_000, samples: 10, isCut: false },
    frames: [0x401000, 0x402000],
  });
  assert.deepEqual([second?.functionIndex, second?.bytes, second?.isCut], [5, 1_001, true]);
  assert.equal(second?.frames.length, 32);
  assert.deepEqual(readAllocationRest(map), { bytes: 7, samples: 2 });
});

test('stacks go with their function', async () => {
  const { map, deleted } = fakeMap();
  await forgetAllocationStacks(map, 5, 3);
  assert.deepEqual(deleted, [5]);
});
