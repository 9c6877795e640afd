/** How many calls a second one core turns from records into spans. */
import { Decoder } from '../src/spans/decode.js';
import { callRecord, RecordKind } from '../src/spans/records.generated.js';
import { SpanMaker } from '../src/spans/spans.js';
import { TreeKeeper } from '../src/spans/trees.js';

/** Of a batch. */
export const CALLS = 8_192;
const ROUNDS = 100;

/** Trees of `size` calls: an outermost one and what it calls, children first. */
export function batchOf(size: number): Buffer {
  const batch = Buffer.alloc(CALLS * callRecord.size);
  for (let index = 0; index < CALLS; index++) {
    const at = index * callRecord.size;
    const outermost = Math.floor(index / size) * size + size - 1;
    batch.writeUInt32LE(RecordKind.CALL, at);
    batch.writeUInt32LE(callRecord.size, at + 4);
    batch.writeBigUInt64LE(1_000_000_000n + BigInt(index), at + callRecord.startNs);
    batch.writeBigUInt64LE(1_000_001_000n + BigInt(index), at + callRecord.endNs);
    batch.writeUInt32BE(outermost + 1, at + callRecord.traceId);
    batch.writeUInt32BE(index + 1, at + callRecord.spanId);
    batch.writeUInt32BE(outermost + 1, at + callRecord.parentId);
    batch.writeUInt32BE(outermost + 1, at + callRecord.treeId);
    batch.writeUInt32LE(index === outermost ? size : 0, at + callRecord.treeSpans);
    batch.writeUInt32LE(1, at + callRecord.function);
    batch[at + callRecord.parentKind] = index === outermost ? 1 : 2;
  }
  return batch;
}

export interface DecodeRate {
  /** Calls of a tree. */
  size: number;
  perSecond: number;
}

function measure(size: number): DecodeRate {
  const batch = batchOf(size);
  let spans = 0;
  const maker = new SpanMaker({
    functions: [undefined, { name: 'main.(*Shop).PlaceOrder', file: '/src/shop.go', line: 12 }],
    clockOffsetNs: 1_700_000_000_000_000_000n,
    resource: () => ({ attributes: {} }),
    overheadPerCallNs: 1_500,
  });
  const keeper = new TreeKeeper({
    filterOf: () => ({
      slowerThanNs: null,
      errorsOnly: false,
      minDurationNs: 0,
      span: null,
      fold: 0,
    }),
    openCalls: () => null,
    drained: () => Promise.resolve(),
    release: (tree) => void (spans += tree.map((call) => maker.span(call)).length),
    lost: () => undefined,
  });
  const decoder = new Decoder({
    call: (call) => keeper.add(call),
    programSpan: () => undefined,
    process: () => undefined,
    tracer: () => undefined,
    collector: () => undefined,
  });
  for (let round = 0; round < 10; round++) decoder.decode(batch);
  spans = 0;
  // CPU time, also that of the garbage collector's threads: others may use the machine.
  const before = process.cpuUsage();
  for (let round = 0; round < ROUNDS; round++) decoder.decode(batch);
  const { user, system } = process.cpuUsage(before);
  const seconds = (user + system) / 1e6;
  return { size, perSecond: spans / seconds };
}

export const measureDecoding = (): DecodeRate[] => [1, 8].map(measure);
