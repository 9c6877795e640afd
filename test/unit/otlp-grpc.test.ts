/** Delivery over gRPC, whatever the server answers; what may have come twice is counted. */
import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { status } from '@grpc/grpc-js';
import { closeAll, codes, sinkTo, treeOf } from '../tools/otlp-sink.js';
import { sleep } from '../tools/process.js';
import { type Answer, Receiver, retryInfo } from '../tools/receiver.js';

afterEach(closeAll);

test('RESOURCE_EXHAUSTED is tried again after the delay of its RetryInfo', async () => {
  const times: number[] = [];
  const receiver = await Receiver.start({
    answer: (_spans, request) => {
      times.push(Date.now());
      return request === 0
        ? {
            accept: false,
            code: status.RESOURCE_EXHAUSTED,
            message: 'full',
            details: retryInfo(2),
          }
        : { accept: true };
    },
  });
  const { sink } = sinkTo(receiver.endpoint);
  sink.spans(treeOf(5));
  while (receiver.spans.length < 5) await sleep(20);
  await sink.close();
  receiver.stop();
  const [first = 0, second = 0] = times;
  assert.ok(second - first >= 1_990, `${second - first} ms`);
  assert.deepEqual(sink.lost(), { queue: 0, export: 0 });
  assert.equal(sink.state().repeated, 0);
});

test('RESOURCE_EXHAUSTED without RetryInfo is final', async () => {
  const receiver = await Receiver.start({
    answer: () => ({ accept: false, code: status.RESOURCE_EXHAUSTED, message: 'full' }),
  });
  const { sink, notices } = sinkTo(receiver.endpoint);
  sink.spans(treeOf(5));
  await sink.flush(5_000);
  await sink.close();
  receiver.stop();
  assert.equal(receiver.requests, 1);
  assert.deepEqual(sink.lost(), { queue: 0, export: 5 });
  assert.deepEqual(codes(notices), ['otlp-refused']);
});

/** What five spans led to when the first request is answered so, or its connection is cut. */
async function afterFirst(
  first: (receiver: Receiver) => Answer | Promise<Answer>,
  timeoutMs = 10_000,
): Promise<{ arrived: number; delivered: number; retries: number; repeated: number }> {
  const receiver: Receiver = await Receiver.start({
    answer: (_spans, request) => (request === 0 ? first(receiver) : { accept: true }),
  });
  process.env['OTEL_EXPORTER_OTLP_TIMEOUT'] = String(timeoutMs);
  const { sink } = sinkTo(receiver.endpoint);
  sink.spans(treeOf(5));
  while (sink.state().delivered < 5) await sleep(20);
  await sink.close();
  delete process.env['OTEL_EXPORTER_OTLP_TIMEOUT'];
  receiver.stop();
  const { delivered, retries, repeated } = sink.state();
  return { arrived: receiver.spans.length, delivered, retries, repeated };
}

test('a refusal for now is no uncertainty', async () => {
  for (const code of [status.UNAVAILABLE, status.ABORTED, status.OUT_OF_RANGE]) {
    assert.deepEqual(await afterFirst(() => ({ accept: false, code, message: 'busy' })), {
      ...{ arrived: 5, delivered: 5, retries: 1, repeated: 0 },
    });
  }
});

test('a server that stalls is asked again after the timeout: it may have come twice', async () => {
  const slow = async (): Promise<Answer> => {
    await sleep(900);
    return { accept: true };
  };
  const { arrived, delivered, repeated } = await afterFirst(slow, 300);
  assert.ok(arrived >= 5);
  assert.deepEqual({ delivered, repeated }, { delivered: 5, repeated: 5 });
});

test('a server that itself gave up waiting may have taken it all the same', async () => {
  for (const code of [status.DEADLINE_EXCEEDED, status.CANCELLED]) {
    const { repeated } = await afterFirst(() => ({ accept: false, code, message: 'too late' }));
    assert.equal(repeated, 5);
  }
});

test('a connection that is cut before the answer: it may have come twice', async () => {
  const cut = (receiver: Receiver): Promise<Answer> => {
    receiver.cut();
    return new Promise(() => undefined);
  };
  assert.deepEqual(await afterFirst(cut), {
    ...{ arrived: 5, delivered: 5, retries: 1, repeated: 5 },
  });
});

test('a server that is not there has not taken anything', async () => {
  const first = await Receiver.start();
  first.stop();
  const { sink } = sinkTo(first.endpoint);
  sink.spans(treeOf(5));
  while (sink.state().retries < 3) await sleep(20);
  const second = await Receiver.start({ port: Number(new URL(first.endpoint).port) });
  await sink.flush(5_000);
  await sink.close();
  second.stop();
  assert.equal(second.spans.length, 5);
  assert.equal(sink.state().repeated, 0);
});
