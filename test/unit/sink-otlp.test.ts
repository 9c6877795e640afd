import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { status } from '@grpc/grpc-js';
import { UnderspanError } from '../../src/errors.js';
import { backoffMs, isRetryable, retryDelayMs } from '../../src/sinks/otlp-retry.js';
import { OtlpQueue } from '../../src/sinks/otlp-queue.js';
import { spanEncoder } from '../../src/sinks/otlp-encode.js';
import { sizeOfResource, sizeOfTree } from '../../src/sinks/otlp-size.js';
import { closeAll, codes, sinkTo, spanOf, treeOf } from '../tools/otlp-sink.js';
import type { FunctionSpan } from '../../src/spans/span.js';
import { Receiver } from '../tools/receiver.js';

afterEach(closeAll);

test('a span arrives as it was', async () => {
  const receiver = await Receiver.start();
  const { sink, notices } = sinkTo(receiver.endpoint);
  const root = spanOf({ parentSpanId: null, status: { code: 'error', message: 'panic' } });
  const child = spanOf({ parentSpanId: root.spanId });
  sink.spans([root, child]);
  await sink.flush(5_000);
  await sink.close();
  receiver.stop();
  const [first, second] = receiver.spans;
  assert.equal(receiver.spans.length, 2);
  assert.equal(first?.parentSpanId, null);
  assert.deepEqual(first.status, { code: 2, message: 'panic' });
  assert.equal(second?.parentSpanId, root.spanId);
  assert.equal(second.traceId, child.traceId);
  assert.equal(second.spanId, child.spanId);
  assert.equal(second.kind, 1);
  assert.equal(second.startTimeUnixNano, child.startTimeUnixNano);
  assert.equal(second.endTimeUnixNano, child.endTimeUnixNano);
  assert.deepEqual(second.scope, { name: 'underspan', version: '1.2.3' });
  assert.equal(second.resource['service.name'], 'shop');
  assert.equal(Number(second.attributes['thread.id']), 9);
  assert.equal(second.attributes['underspan.incomplete'], true);
  assert.deepEqual(sink.lost(), { queue: 0, export: 0 });
  assert.deepEqual(notices, []);
});

test('many spans in requests of a bounded size', async () => {
  const sizes: number[] = [];
  const receiver = await Receiver.start({
    answer: (spans) => {
      sizes.push(spans.length);
      return { accept: true };
    },
  });
  const { sink } = sinkTo(receiver.endpoint);
  for (let tree = 0; tree < 2_000; tree++) sink.spans(treeOf(10));
  sink.spans(treeOf(5_000));
  await sink.flush(20_000);
  await sink.close();
  receiver.stop();
  assert.equal(new Set(receiver.spans.map(({ spanId }) => spanId)).size, 25_000);
  assert.ok(Math.max(...sizes) <= 2_048);
  assert.deepEqual(sink.lost(), { queue: 0, export: 0 });
});

test('a collector that goes away and returns has missed nothing', async () => {
  const first = await Receiver.start();
  const { sink, notices } = sinkTo(first.endpoint);
  sink.spans(treeOf(100));
  while (first.spans.length < 100) await new Promise((resolve) => setTimeout(resolve, 20));
  first.stop();
  for (let tree = 0; tree < 100; tree++) sink.spans(treeOf(30));
  await new Promise((resolve) => setTimeout(resolve, 3_000));
  assert.deepEqual(codes(notices), ['otlp-unreachable']);
  const second = await Receiver.start({ port: Number(new URL(first.endpoint).port) });
  await sink.flush(15_000);
  await sink.close();
  second.stop();
  assert.equal(new Set(second.spans.map(({ spanId }) => spanId)).size, 3_000);
  assert.deepEqual(sink.lost(), { queue: 0, export: 0 });
  assert.deepEqual(codes(notices), ['otlp-unreachable', 'otlp-back']);
});

test('what a collector that never comes leaves over is counted', async () => {
  const receiver = await Receiver.start();
  receiver.stop();
  const { sink, notices } = sinkTo(receiver.endpoint);
  sink.spans(treeOf(10));
  const before = Date.now();
  await sink.flush(700);
  assert.ok(Date.now() - before < 2_000);
  assert.deepEqual(sink.lost(), { queue: 0, export: 10 });
  assert.deepEqual(codes(notices), ['otlp-unreachable']);
  await sink.close();
  assert.deepEqual(sink.lost(), { queue: 0, export: 10 });
});

test('retryable answers are retried, others are not', async () => {
  const receiver = await Receiver.start({
    answer: (_spans, request) =>
      request < 3
        ? { accept: false, code: status.UNAVAILABLE, message: 'busy' }
        : request === 3
          ? { accept: true }
          : { accept: false, code: status.INVALID_ARGUMENT, message: 'no' },
  });
  const { sink, notices } = sinkTo(receiver.endpoint);
  sink.spans(treeOf(5));
  while (receiver.requests < 4) await new Promise((resolve) => setTimeout(resolve, 20));
  sink.spans(treeOf(7));
  await sink.flush(5_000);
  await sink.close();
  receiver.stop();
  assert.equal(receiver.spans.length, 5);
  assert.equal(receiver.requests, 5);
  assert.deepEqual(sink.lost(), { queue: 0, export: 7 });
  assert.deepEqual(codes(notices), ['otlp-unreachable', 'otlp-back', 'otlp-refused']);
});

test('a partial success is counted', async () => {
  const receiver = await Receiver.start({
    answer: () => ({ accept: true, rejected: 3, message: 'three are too old' }),
  });
  const { sink, notices } = sinkTo(receiver.endpoint);
  sink.spans(treeOf(10));
  await sink.flush(5_000);
  await sink.close();
  receiver.stop();
  assert.deepEqual(sink.lost(), { queue: 0, export: 3 });
  assert.match(notices[0]?.message ?? '', /three are too old/);
});

test('a full queue refuses whole trees', async () => {
  const receiver = await Receiver.start();
  receiver.stop();
  const maxBytes = sizeOfTree(treeOf(100));
  const { sink, notices } = sinkTo(receiver.endpoint, { maxBytes });
  sink.spans(treeOf(60));
  sink.spans(treeOf(50));
  sink.spans(treeOf(40));
  assert.deepEqual(sink.lost(), { queue: 50, export: 0 });
  await sink.flush(200);
  await sink.close();
  assert.deepEqual(sink.lost(), { queue: 50, export: 100 });
  assert.ok(codes(notices).includes('otlp-queue-full'));
});

test('batches hold whole trees where these fit', () => {
  const queue = new OtlpQueue(1e9);
  const trees = [1_500, 1_500, 5_000, 10];
  for (const size of trees) assert.ok(queue.offer(treeOf(size)));
  const sizes: number[] = [];
  for (let batch = queue.take(); batch; batch = queue.take()) {
    sizes.push(batch.count);
    queue.done(batch);
  }
  assert.deepEqual(sizes, [1_500, 1_500, 2_048, 2_048, 914]);
  assert.equal(queue.pending, 0);
  assert.equal(queue.waiting, 0);
});

test('the size of spans is no less than what is sent', () => {
  const encode = spanEncoder('1.2.3');
  const numbers = [0, -1, 2 ** 53, 1.5, true].map((value, at) => [`underspan.arg.${at}`, value]);
  const shapes: Partial<FunctionSpan>[] = [
    {},
    { name: '' },
    { name: 'große/пакет.(*Тип).名前' },
    { status: { code: 'error', message: 'panic: ✗'.repeat(1_000) } },
    { attributes: { 'code.stacktrace': 'main.work\n\t/src/main.go:12\n'.repeat(500) } },
    { attributes: { ключ: '\ud800 a lone surrogate', '': '' } },
    { attributes: Object.fromEntries(numbers) as FunctionSpan['attributes'] },
    { resource: { attributes: { lines: ['tea', 'coffee'], ports: [1, 2, 2 ** 40], on: [true] } } },
  ];
  for (const shape of shapes) {
    const tree = treeOf(100, shape);
    const [first] = tree;
    assert.ok(first);
    const sent = encode(tree).length;
    const size = sizeOfTree(tree) + sizeOfResource(first.resource);
    assert.ok(sent <= size, `${sent} bytes for ${size}: ${JSON.stringify(shape)}`);
  }
});

test('an endpoint that is no URL is refused at once', () => {
  for (const endpoint of ['http://', 'a b', 'ftp://host:1']) {
    assert.throws(
      () => sinkTo(endpoint),
      (error) => error instanceof UnderspanError && error.kind === 'usage',
      endpoint,
    );
  }
});

test('RetryInfo decides about RESOURCE_EXHAUSTED', () => {
  const message = (number: number, bytes: Buffer): Buffer =>
    Buffer.concat([Buffer.from([(number << 3) | 2, bytes.length]), bytes]);
  // seconds 2, nanos 500,000,000
  const duration = Buffer.from([0x08, 2, 0x10, 0x80, 0xca, 0xb5, 0xee, 0x01]);
  const details = message(
    3,
    Buffer.concat([
      message(1, Buffer.from('type.googleapis.com/google.rpc.RetryInfo')),
      message(2, message(1, duration)),
    ]),
  );
  assert.equal(retryDelayMs(details), 2_500);
  assert.equal(retryDelayMs(message(2, Buffer.from('text'))), null);
  for (let size = 0; size < details.length; size++) retryDelayMs(details.subarray(0, size));
  assert.ok(isRetryable(status.RESOURCE_EXHAUSTED, 2_500));
  assert.ok(!isRetryable(status.RESOURCE_EXHAUSTED, null));
  assert.ok(isRetryable(status.UNAVAILABLE, null));
  assert.ok(!isRetryable(status.PERMISSION_DENIED, 1_000));
});

test('backoff grows, with jitter, up to a bound', () => {
  assert.equal(
    backoffMs(1, () => 0),
    125,
  );
  assert.equal(
    backoffMs(3, () => 0),
    500,
  );
  assert.ok(backoffMs(100) <= 5_000);
  assert.ok(backoffMs(100) >= 2_500);
});

test('closing with nothing to send is quick', async () => {
  const { sink } = sinkTo('http://127.0.0.1:1');
  const before = Date.now();
  await sink.close();
  assert.ok(Date.now() - before < 3_000);
});
