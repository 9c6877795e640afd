/** Delivery over http/protobuf, whatever the server answers. */
import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { retryAfterMs } from '../../src/sinks/otlp-retry.js';
import { HttpReceiver, type HttpAnswer } from '../tools/http-receiver.js';
import { closeAll, codes, sinkTo, spanOf, treeOf } from '../tools/otlp-sink.js';
import { sleep } from '../tools/process.js';

afterEach(closeAll);

const protocol = 'http/protobuf';

async function answers(...list: HttpAnswer[]): Promise<HttpReceiver> {
  return HttpReceiver.start({
    answer: (_spans, request) => {
      const answer = list[request];
      return answer === undefined ? { accept: true } : answer;
    },
  });
}

test('a span arrives as it was', async () => {
  const receiver = await HttpReceiver.start();
  const { sink, notices } = sinkTo(receiver.endpoint, { protocol });
  const root = spanOf({ parentSpanId: null, status: { code: 'error', message: 'panic' } });
  sink.spans([root, spanOf({ parentSpanId: root.spanId })]);
  await sink.flush(5_000);
  await sink.close();
  receiver.stop();
  assert.deepEqual(
    receiver.spans.map(({ parentSpanId }) => parentSpanId),
    [null, root.spanId],
  );
  assert.deepEqual(receiver.spans[0]?.status, { code: 2, message: 'panic' });
  assert.equal(receiver.headers[0]?.['content-type'], 'application/x-protobuf');
  assert.deepEqual(sink.lost(), { queue: 0, export: 0 });
  assert.deepEqual(notices, []);
});

for (const status of [429, 502, 503, 504]) {
  test(`HTTP ${status} is tried again`, async () => {
    const receiver = await answers({ accept: false, status });
    const { sink, notices } = sinkTo(receiver.endpoint, { protocol });
    sink.spans(treeOf(5));
    await sink.flush(5_000);
    await sink.close();
    receiver.stop();
    assert.equal(receiver.requests, 2);
    assert.equal(receiver.spans.length, 5);
    const { delivered, retries, repeated } = sink.state();
    // A gateway does not know what became of the request behind it.
    assert.deepEqual(
      { delivered, retries, repeated },
      { delivered: 5, retries: 1, repeated: status === 502 || status === 504 ? 5 : 0 },
    );
    assert.deepEqual(codes(notices), ['otlp-unreachable', 'otlp-back']);
  });
}

for (const status of [302, 400, 401, 413, 500, 501]) {
  test(`HTTP ${status} is not`, async () => {
    // field 2 of google.rpc.Status: "no"
    const body = Buffer.from([0x12, 2, 0x6e, 0x6f]);
    const headers = { 'content-type': 'application/x-protobuf' };
    const receiver = await answers({ accept: false, status, headers, body });
    const { sink, notices } = sinkTo(receiver.endpoint, { protocol });
    sink.spans(treeOf(5));
    await sink.flush(5_000);
    await sink.close();
    receiver.stop();
    assert.equal(receiver.requests, 1);
    assert.deepEqual(sink.lost(), { queue: 0, export: 5 });
    assert.match(notices[0]?.message ?? '', new RegExp(`HTTP ${status} [A-Z].*: no$`));
  });
}

test('Retry-After is waited for', async () => {
  const times: number[] = [];
  const receiver = await HttpReceiver.start({
    answer: (_spans, request) => {
      times.push(Date.now());
      return request === 0
        ? { accept: false, status: 503, headers: { 'retry-after': '2' } }
        : { accept: true };
    },
  });
  const { sink } = sinkTo(receiver.endpoint, { protocol });
  sink.spans(treeOf(5));
  while (receiver.spans.length < 5) await sleep(20);
  await sink.close();
  receiver.stop();
  const [first = 0, second = 0] = times;
  assert.ok(second - first >= 1_990, `${second - first} ms`);
});

test('Retry-After as a date, or as nonsense', () => {
  const now = Date.parse('2024-05-01T10:00:00Z');
  assert.equal(retryAfterMs('120', now), 120_000);
  assert.equal(retryAfterMs('Wed, 01 May 2024 10:00:30 GMT', now), 30_000);
  assert.equal(retryAfterMs('Wed, 01 May 2024 09:00:00 GMT', now), 0);
  assert.equal(retryAfterMs('soon', now), null);
  assert.equal(retryAfterMs(undefined, now), null);
  assert.equal(retryAfterMs('99999999999999999999', now), 3_600_000);
});

test('a partial success is counted', async () => {
  const receiver = await answers({ accept: true, rejected: 3, message: 'three are too old' });
  const { sink, notices } = sinkTo(receiver.endpoint, { protocol });
  sink.spans(treeOf(10));
  await sink.flush(5_000);
  await sink.close();
  receiver.stop();
  assert.deepEqual(sink.lost(), { queue: 0, export: 3 });
  assert.equal(sink.state().delivered, 7);
  assert.match(notices[0]?.message ?? '', /three are too old/);
});

test('a server that stalls is given up on after the timeout, and asked again', async () => {
  const receiver = await answers(null);
  process.env['OTEL_EXPORTER_OTLP_TIMEOUT'] = '300';
  const { sink, notices } = sinkTo(receiver.endpoint, { protocol });
  sink.spans(treeOf(5));
  while (receiver.spans.length < 5) await sleep(20);
  await sink.flush(5_000);
  await sink.close();
  delete process.env['OTEL_EXPORTER_OTLP_TIMEOUT'];
  receiver.stop();
  assert.deepEqual(sink.lost(), { queue: 0, export: 0 });
  assert.match(notices[0]?.message ?? '', /no answer within 300 ms/);
  assert.equal(sink.state().repeated, 5);
});

test('a connection that is cut instead of an answer: it may have come twice', async () => {
  const receiver = await answers({ accept: true, cut: true });
  const { sink } = sinkTo(receiver.endpoint, { protocol });
  sink.spans(treeOf(5));
  await sink.flush(5_000);
  await sink.close();
  receiver.stop();
  assert.equal(receiver.spans.length, 10);
  assert.equal(new Set(receiver.spans.map(({ spanId }) => spanId)).size, 5);
  assert.equal(sink.state().delivered, 5);
  assert.equal(sink.state().repeated, 5);
});

test('a server that is not there has not taken anything', async () => {
  const first = await HttpReceiver.start();
  const { endpoint, port } = first;
  first.stop();
  const { sink } = sinkTo(endpoint, { protocol });
  sink.spans(treeOf(5));
  while (sink.state().retries < 2) await sleep(20);
  const second = await HttpReceiver.start({ port });
  await sink.flush(5_000);
  await sink.close();
  second.stop();
  assert.equal(second.spans.length, 5);
  assert.equal(sink.state().repeated, 0);
});
