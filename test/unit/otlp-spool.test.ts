/** A sink with a spool: what the collector does not take is on disk, or counted. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, test } from 'node:test';
import { promisify } from 'node:util';
import { status } from '@grpc/grpc-js';
import { sizeOfTree } from '../../src/sinks/otlp-size.js';
import type { SinkState } from '../../src/sinks/sink.js';
import { inFolder } from '../tools/folder.js';
import { closeAll, codes, sinkTo, treeOf } from '../tools/otlp-sink.js';
import { sleep } from '../tools/process.js';
import { Receiver } from '../tools/receiver.js';
import { requireRoot } from '../tools/require.js';

afterEach(closeAll);

const MIB = 1024 * 1024;
const NOTHING_LOST = { queue: 0, export: 0, spool: 0, spoolCorrupt: 0 };

/** A port where nobody listens. */
async function nobody(): Promise<{ endpoint: string; port: number }> {
  const receiver = await Receiver.start();
  receiver.stop();
  return { endpoint: receiver.endpoint, port: Number(new URL(receiver.endpoint).port) };
}

async function until(what: string, test: () => boolean): Promise<void> {
  for (const end = Date.now() + 30_000; !test();) {
    assert.ok(Date.now() < end, `not ${what}`);
    await sleep(10);
  }
}

const sum = ({ delivered, queuedSpans, spooledSpans, lost }: SinkState): number =>
  delivered + queuedSpans + spooledSpans + Object.values(lost).reduce((a, b) => a + b, 0);

/** What a new sink finds in the spool, delivered. */
async function drain(directory: string): Promise<{ receiver: Receiver; state: SinkState }> {
  const receiver = await Receiver.start();
  const { sink } = sinkTo(receiver.endpoint, { spool: { directory, maxBytes: 64 * MIB } });
  await until('found', () => sink.state().spooledSpans > 0);
  await until('delivered', () => sink.state().spooledSpans === 0);
  await sink.close();
  receiver.stop();
  return { receiver, state: sink.state() };
}

const idsOf = (spans: readonly { spanId: string }[]): string[] =>
  spans.map(({ spanId }) => spanId).sort();

test('a collector that is away: spans are on disk, and the next process delivers them', async () => {
  await inFolder(async (directory) => {
    const { endpoint } = await nobody();
    const { sink, notices } = sinkTo(endpoint, { spool: { directory, maxBytes: 64 * MIB } });
    const trees = Array.from({ length: 300 }, () => treeOf(10));
    for (const tree of trees) sink.spans(tree);
    // Before the end, since a process may be killed.
    await until('spooled', () => sink.state().spooledSpans >= 2_900);
    await sink.flush(5_000);
    await sink.close();
    const state = sink.state();
    assert.equal(state.spooledSpans, 3_000);
    assert.equal(state.queuedSpans, 0);
    assert.deepEqual(state.lost, NOTHING_LOST);
    assert.deepEqual(codes(notices), ['otlp-unreachable']);
    const next = await drain(directory);
    assert.deepEqual(idsOf(next.receiver.spans), idsOf(trees.flat()));
    assert.equal(next.state.delivered, 3_000);
    assert.equal(next.state.repeated, 0);
    assert.deepEqual(next.state.lost, NOTHING_LOST);
  });
});

test('a collector that returns gets the oldest first, then what came since', async () => {
  await inFolder(async (directory) => {
    const { endpoint, port } = await nobody();
    const { sink, notices } = sinkTo(endpoint, { spool: { directory, maxBytes: 64 * MIB } });
    const trees = Array.from({ length: 20 }, () => treeOf(600));
    for (const tree of trees) {
      sink.spans(tree);
      await sleep(20);
    }
    await until('spooled', () => sink.state().spooledSpans > 11_000);
    const receiver = await Receiver.start({ port });
    await until('delivered', () => sink.state().delivered === 12_000);
    sink.spans(treeOf(3));
    await until('back to normal', () => sink.state().delivered === 12_003);
    await sink.close();
    receiver.stop();
    assert.equal(receiver.spans[0]?.spanId, trees[0]?.[0]?.spanId);
    assert.equal(new Set(idsOf(receiver.spans)).size, 12_003);
    assert.equal(receiver.spans.length, 12_003);
    assert.equal(sink.state().spooledBytes, 0);
    assert.deepEqual(codes(notices), ['otlp-unreachable', 'otlp-back']);
  });
});

test('what neither spool nor queue holds is refused by whole trees, and counted', async () => {
  await inFolder(async (directory) => {
    const { endpoint } = await nobody();
    const stack = 'x'.repeat(2_000);
    const tree = (): ReturnType<typeof treeOf> => treeOf(10, { attributes: { stack } });
    const { sink, notices } = sinkTo(endpoint, {
      maxBytes: 100 * sizeOfTree(tree()),
      spool: { directory, maxBytes: 4 * MIB },
    });
    const kept: string[] = [];
    let given = 0;
    const offer = (): void => {
      const before = sink.state().queuedSpans;
      const one = tree();
      given += one.length;
      sink.spans(one);
      if (sink.state().queuedSpans > before) kept.push(...idsOf(one));
    };
    while ((sink.lost()['spool'] ?? 0) < 500) {
      for (let i = 0; i < 10; i++) offer();
      assert.ok(sink.state().queuedBytes <= 100 * sizeOfTree(tree()));
      assert.ok(sink.state().spooledBytes <= 4 * MIB);
      await sleep(5);
    }
    const refused = given - kept.length;
    assert.equal((sink.lost()['spool'] ?? 0) + (sink.lost()['queue'] ?? 0), refused);
    assert.equal(sum(sink.state()), given);
    await sink.flush(1_000);
    await sink.close();
    const state = sink.state();
    assert.equal(sum(state), given);
    assert.ok(codes(notices).includes('otlp-spool-full'));
    const { receiver } = await drain(directory);
    assert.equal(receiver.spans.length, state.spooledSpans);
    // The oldest are kept: those of the spool are the first that were taken.
    const first = kept.slice(0, state.spooledSpans);
    assert.deepEqual(idsOf(receiver.spans), first.sort());
  });
});

test('a collector that stalls: the end comes in time, and nothing is lost', async () => {
  await inFolder(async (directory) => {
    const receiver = await Receiver.start({ answer: () => new Promise(() => undefined) });
    const { sink } = sinkTo(receiver.endpoint, { spool: { directory, maxBytes: 64 * MIB } });
    const trees = Array.from({ length: 60 }, () => treeOf(600));
    for (const tree of trees) sink.spans(tree);
    await until('sent', () => receiver.requests === 8);
    const begin = Date.now();
    await sink.flush(3_000);
    assert.ok(Date.now() - begin < 3_500, `${Date.now() - begin} ms`);
    receiver.stop();
    await sink.close();
    assert.equal(sink.state().spooledSpans, 36_000);
    assert.deepEqual(sink.lost(), NOTHING_LOST);
    const next = await drain(directory);
    assert.deepEqual(idsOf(next.receiver.spans), idsOf(trees.flat()));
    // Eight requests went out, and nobody knows what became of them.
    assert.ok(next.state.repeated >= 8 * 512, `${next.state.repeated}`);
  });
});

test('a slow collector: memory stays within its bound, the spool takes the rest', async () => {
  await inFolder(async (directory) => {
    let slow = true;
    const receiver = await Receiver.start({
      answer: async () => {
        while (slow) await sleep(20);
        return { accept: true };
      },
    });
    const maxBytes = 16 * MIB;
    const { sink } = sinkTo(receiver.endpoint, {
      maxBytes,
      spool: { directory, maxBytes: 256 * MIB },
    });
    let given = 0;
    for (let round = 0; round < 200; round++) {
      sink.spans(treeOf(1_000));
      given += 1_000;
      assert.ok(sink.state().queuedBytes <= maxBytes);
      // As fast as the disk, not faster.
      await until('room', () => sink.state().queuedBytes < maxBytes * 0.9);
    }
    assert.ok(sink.state().spooledBytes > maxBytes, `${sink.state().spooledBytes} bytes`);
    slow = false;
    await until('delivered', () => sink.state().delivered === given);
    await sink.close();
    receiver.stop();
    assert.equal(new Set(idsOf(receiver.spans)).size, given);
    assert.deepEqual(sink.lost(), NOTHING_LOST);
  });
});

test('what the collector refuses out of the spool is counted', async () => {
  await inFolder(async (directory) => {
    const { endpoint, port } = await nobody();
    const { sink } = sinkTo(endpoint, { spool: { directory, maxBytes: 64 * MIB } });
    for (let i = 0; i < 3; i++) {
      sink.spans(treeOf(600));
      await until('spooled', () => sink.state().spooledSpans === (i + 1) * 600);
    }
    const receiver = await Receiver.start({
      port,
      answer: (_spans, request) =>
        request === 0
          ? { accept: false, code: status.UNAVAILABLE, message: 'soon' }
          : request === 1
            ? { accept: false, code: status.INVALID_ARGUMENT, message: 'no' }
            : { accept: true, rejected: 7 },
    });
    await until('settled', () => sink.state().spooledSpans === 0);
    await sink.close();
    receiver.stop();
    assert.deepEqual(sink.lost(), { ...NOTHING_LOST, export: 614 });
    assert.equal(sink.state().delivered, 1_186);
    assert.equal(sink.state().repeated, 0);
  });
});

test('a spool in use is waited for', async () => {
  await inFolder(async (directory) => {
    const { endpoint } = await nobody();
    const spool = { directory, maxBytes: 64 * MIB };
    const first = sinkTo(endpoint, { spool });
    first.sink.spans(treeOf(5));
    await until('spooled', () => first.sink.state().spooledSpans === 5);
    const second = sinkTo(endpoint, { spool });
    second.sink.spans(treeOf(7));
    await until('told', () => codes(second.notices).includes('otlp-spool-unavailable'));
    await first.sink.close();
    await until('taken over', () => second.sink.state().spooledSpans === 12);
    await second.sink.close();
    assert.equal(sum(second.sink.state()), 12);
  });
});

test('a directory that cannot be used costs the spool, not the spans', async () => {
  await inFolder(async (folder) => {
    const directory = join(folder, 'file');
    await writeFile(directory, '');
    const receiver = await Receiver.start();
    const spool = { directory, maxBytes: 64 * MIB };
    const { sink, notices } = sinkTo(receiver.endpoint, { spool });
    sink.spans(treeOf(5));
    await sink.flush(3_000);
    await sink.close();
    receiver.stop();
    assert.equal(receiver.spans.length, 5);
    assert.deepEqual(codes(notices), ['otlp-spool-unavailable']);
    assert.match(notices[0]?.message ?? '', /file/);
  });
});

test('a full disk is told once, and what waits for it is written when there is room', async (t) => {
  if (!requireRoot(t)) return;
  await inFolder(async (folder) => {
    const run = promisify(execFile);
    const directory = join(folder, 'small');
    await mkdir(directory);
    await run('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', directory]);
    try {
      await writeFile(join(directory, 'ballast'), Buffer.alloc(MIB - 20_000));
      const { endpoint } = await nobody();
      const { sink, notices } = sinkTo(endpoint, { spool: { directory, maxBytes: 64 * MIB } });
      sink.spans(treeOf(600));
      await until('told', () => codes(notices).includes('otlp-spool-failed'));
      assert.equal(sink.state().queuedSpans, 600);
      assert.equal(sink.state().spooledSpans, 0);
      await rm(join(directory, 'ballast'));
      await until('written', () => sink.state().spooledSpans === 600);
      assert.equal(codes(notices).filter((code) => code === 'otlp-spool-failed').length, 1);
      await sink.close();
      assert.deepEqual(sink.lost(), NOTHING_LOST);
    } finally {
      await run('umount', ['-l', directory]);
    }
  });
});
