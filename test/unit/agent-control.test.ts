import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { test } from 'node:test';
import { UnderspanError } from '../../src/errors.js';
import type { Sink } from '../../src/sinks/sink.js';
import type { selectTargets as select } from '../../src/targets/select.js';
import { ask, EMPTY_SUMMARY, Lines, send, SPAN, WISHES, withControl } from '../tools/control.js';

const POST = ['POST', '/v1/sessions'] as const;

test('a session: started, spans, notices, the summary last', async () => {
  await withControl({}, async ({ socket, engine }) => {
    engine.notices = [{ code: 'N', message: 'of the plan', hint: 'do' }];
    const lines = await Lines.open(socket, WISHES);
    const started = await lines.next();
    assert.equal(started.type, 'started');
    assert.equal(typeof started['id'], 'string');
    assert.deepEqual(started['modules'], [
      { executable: '/app/shop', pids: [42], comm: 'shop', functions: 1 },
    ]);
    assert.equal(
      Date.parse(String(started['until'])) - Date.parse(String(started['since'])),
      60_000,
    );
    assert.deepEqual(await lines.next(), {
      ...{ type: 'notice', code: 'N', message: 'of the plan', hint: 'do' },
    });
    const { sink, end, options } = await engine.trace();
    assert.equal(typeof sink.programSpans, 'undefined', 'nobody asked for them');
    assert.equal(options.selection.command, null);
    sink.spans([{ ...SPAN, spanId: 'aaaaaaaaaaaaaaaa' }, SPAN]);
    end();
    const [first, second, summary, ...none] = await lines.rest();
    assert.deepEqual(none, []);
    assert.deepEqual(first, {
      type: 'span',
      traceId: SPAN.traceId,
      spanId: 'aaaaaaaaaaaaaaaa',
      parentSpanId: null,
      name: 'main.work',
      startTimeUnixNano: '1700000000123456789',
      endTimeUnixNano: '1700000000123457789',
      durationNano: 1_000,
      status: { code: 'unset' },
      attributes: { 'thread.id': 9 },
      traceFlags: 1,
      functionIndex: 3,
      more: true,
      resource: { 'service.name': 'shop' },
    });
    assert.deepEqual([second?.['spanId'], second?.['more']], [SPAN.spanId, undefined]);
    assert.deepEqual(summary, {
      type: 'summary',
      ...EMPTY_SUMMARY,
      lost: { tooShort: 1, output: 0 },
    });
  });
});

test('all wishes reach the engine, and what is left out is as for trace attach', async () => {
  await withControl({}, async ({ socket, engine }) => {
    const wishes = {
      selection: {
        ...{ pids: [1], exes: ['/a'], comms: ['b'], containers: ['abcd'], services: ['s'] },
        ...{ command: null, waitMs: 0 },
      },
      ...{ symbols: ['main.*'], exclude: ['main.a'], minDurationNs: 1, slowerThanNs: 2 },
      ...{
        errorsOnly: true,
        span: 'POST *',
        where: ['span.status == error'],
        by: 'span.name',
        fold: 3,
        sample: 0.5,
        maxRate: 3,
        followForks: false,
        entryOnly: true,
      },
      ...{
        contextHops: 5,
        emulateReturns: false,
        returnTrampoline: true,
        args: ['*'],
        returns: true,
        stack: true,
        waits: true,
        gc: true,
        allocations: true,
      },
      ...{ errorText: false, errors: ['negative', 'null'] },
      ...{
        redact: null,
        roots: false,
        unsampled: true,
        maxOverhead: 0.5,
        maxFunctions: 7,
        ringBytes: 4_096,
      },
      ...{ transport: 'perf', durationMs: 1_000, programSpans: true, handlers: [] },
    };
    const lines = [await Lines.open(socket, wishes), await Lines.open(socket, WISHES)];
    const whole = (await engine.trace(0)).options;
    const plain = (await engine.trace(1)).options;
    assert.deepEqual(whole, { ...wishes, sinks: whole.sinks });
    assert.equal(typeof whole.sinks[0]?.programSpans, 'function');
    assert.deepEqual(plain, {
      selection: {
        ...{ pids: [42], exes: [], comms: [], containers: [], services: [] },
        ...{ command: null, waitMs: 0 },
      },
      ...{ symbols: ['main.*'], exclude: [], minDurationNs: 0, slowerThanNs: null },
      ...{
        errorsOnly: false,
        span: null,
        where: [],
        by: null,
        fold: 20,
        sample: 1,
        maxRate: 0,
        followForks: true,
        entryOnly: false,
      },
      ...{
        contextHops: 32,
        emulateReturns: true,
        returnTrampoline: false,
        args: [],
        returns: false,
        stack: false,
        waits: false,
        gc: false,
        allocations: false,
      },
      ...{ errorText: true, errors: null },
      ...{
        redact: [],
        roots: true,
        unsampled: false,
        maxOverhead: 0.05,
        maxFunctions: null,
        ringBytes: 8 << 20,
      },
      ...{
        transport: 'ring',
        durationMs: null,
        programSpans: false,
        handlers: [],
        sinks: plain.sinks,
      },
    });
    engine.traces.forEach(({ end }) => end());
    await Promise.all(lines.map((each) => each.rest()));
  });
});

test('spans of the program are sent where they are asked for', async () => {
  await withControl({}, async ({ socket, engine }) => {
    const lines = await Lines.open(socket, { ...WISHES, programSpans: true });
    const { sink, end } = await engine.trace();
    const { traceId, spanId, parentSpanId, startTimeUnixNano, endTimeUnixNano, resource } = SPAN;
    sink.programSpans?.(
      [...[{ traceId, spanId, parentSpanId, startTimeUnixNano, endTimeUnixNano, resource }]].map(
        (span) => ({ ...span, name: 'GET /' }),
      ),
    );
    end();
    const [started, span, summary] = await lines.rest();
    assert.deepEqual([started?.type, summary?.type], ['started', 'summary']);
    assert.deepEqual(span, {
      ...{ type: 'programSpan', traceId, spanId, parentSpanId, name: 'GET /' },
      startTimeUnixNano: '1700000000123456789',
      endTimeUnixNano: '1700000000123457789',
      resource: { 'service.name': 'shop' },
    });
  });
});

test('a request that is not right is refused, and the field is named', async () => {
  await withControl({}, async ({ socket, engine }) => {
    const { selection } = WISHES;
    const bad: [object | string, RegExp][] = [
      ['{', /is not JSON/],
      ['[]', /expected object/],
      [{}, /selection: /],
      [{ ...WISHES, sinks: [] }, /"sinks"/],
      [{ ...WISHES, symbols: [] }, /symbols: /],
      [{ ...WISHES, symbols: ['main.*', ''] }, /symbols\[1\]: /],
      [{ ...WISHES, sample: 2 }, /sample: /],
      [{ ...WISHES, ringBytes: 5_000 }, /ringBytes: must be a power of two/],
      [{ ...WISHES, ringBytes: 1 << 30 }, /ringBytes: /],
      [{ ...WISHES, contextHops: 101 }, /contextHops: /],
      [{ ...WISHES, durationMs: 0 }, /durationMs: /],
      [{ ...WISHES, selection: {} }, /selection: chooses no process/],
      [{ ...WISHES, selection: { pids: ['42'] } }, /selection\.pids\[0\]: /],
      [{ ...WISHES, selection: { pids: [-1] } }, /selection\.pids\[0\]: /],
      [{ ...WISHES, selection: { exes: ['shop'] } }, /selection\.exes\[0\]: must be an absolute/],
      [
        { ...WISHES, selection: { ...selection, command: ['/bin/sh'] } },
        /selection\.command: .*starts no programs/,
      ],
      [
        { ...WISHES, selection: { ...selection, waitMs: null } },
        /selection\.waitMs: .*does not wait for ever/,
      ],
    ];
    for (const [body, message] of bad) {
      const { status, body: answer } = await ask(socket, ...POST, body);
      assert.equal(status, 400, JSON.stringify(body));
      assert.equal(answer.error?.kind, 'usage');
      assert.equal(answer.error?.code, 'REQUEST_INVALID');
      assert.match(answer.error?.message ?? '', message);
    }
    const large = await ask(socket, ...POST, { ...WISHES, exclude: ['x'.repeat(70_000)] });
    assert.deepEqual([large.status, large.body.error?.code], [413, 'BODY_TOO_LARGE']);
    const form = await ask(socket, ...POST, WISHES, { headers: { 'content-type': 'text/plain' } });
    assert.equal(form.status, 400);
    assert.deepEqual(engine.traces, []);
  });
});

test('what the agent does not know is not found', async () => {
  await withControl({}, async ({ socket }) => {
    for (const [method, path] of [
      ['GET', '/'],
      ['PUT', '/v1/sessions'],
      ['GET', '/v1/sessions/x'],
      ['DELETE', '/v1/sessions/x'],
      ['DELETE', '/v1/sessions/..%2f'],
    ] as const) {
      assert.equal((await ask(socket, method, path)).status, 404, path);
    }
    assert.deepEqual((await ask(socket, 'GET', '/v1/version')).body, { version: '1.2.3' });
  });
});

test('what is no HTTP at all does no harm', async () => {
  await withControl({}, async ({ socket }) => {
    const stranger = connect(socket).resume();
    stranger.end('\0\x01 nonsense\r\n\r\n');
    await once(stranger, 'close');
    assert.equal((await ask(socket, 'GET', '/v1/version')).status, 200);
  });
});

test('errors of the engine keep their kind and code; others say nothing', async () => {
  await withControl({}, async ({ socket, engine, log }) => {
    engine.failure = new UnderspanError('not-found', 'NOTHING_FITS', 'no process fits', 'look');
    const known = await ask(socket, ...POST, WISHES);
    assert.deepEqual(known, {
      status: 404,
      body: {
        error: {
          kind: 'not-found',
          code: 'NOTHING_FITS',
          message: 'no process fits',
          hint: 'look',
        },
      },
    });
    engine.failure = new TypeError('secret');
    const unknown = await ask(socket, ...POST, WISHES);
    assert.deepEqual([unknown.status, unknown.body.error?.code], [500, 'INTERNAL']);
    assert.doesNotMatch(JSON.stringify(unknown.body), /secret/);
    assert.ok(log.some(({ level }) => level === 'error'));
  });
});

test('an error after the beginning comes in the place of the summary', async () => {
  await withControl({}, async ({ socket, engine }) => {
    engine.stopFailure = new UnderspanError('failed', 'BROKEN', 'the kernel said no');
    const lines = await Lines.open(socket, WISHES);
    (await engine.trace()).end();
    const last = (await lines.rest()).at(-1);
    assert.deepEqual(last, {
      ...{ type: 'error', kind: 'failed', code: 'BROKEN', message: 'the kernel said no' },
    });
  });
});

test('sessions are listed, and stopped by their id', async () => {
  await withControl({}, async ({ socket, engine }) => {
    const lines = await Lines.open(socket, WISHES);
    const { id, since, until } = await lines.next();
    const { sink, stopped } = await engine.trace();
    sink.spans([SPAN]);
    const { body } = await ask(socket, 'GET', '/v1/sessions');
    assert.deepEqual(body['sessions'], [
      {
        ...{ id, since, until, symbols: ['main.*'], spans: 1 },
        who: `uid ${process.geteuid?.()}`,
        peer: `socket, pid ${process.pid}`,
        selection: {
          ...{ pids: [42], exes: [], comms: [], containers: [], services: [] },
          ...{ command: null, waitMs: 0 },
        },
      },
    ]);
    const rest = lines.rest();
    assert.equal((await ask(socket, 'DELETE', `/v1/sessions/${String(id)}`)).status, 200);
    await stopped;
    assert.deepEqual(
      (await rest).map(({ type, code }) => code ?? type),
      ['span', 'SESSION_STOPPED', 'summary'],
    );
    assert.deepEqual((await ask(socket, 'GET', '/v1/sessions')).body, { sessions: [] });
  });
});

test('a client that goes away ends its session', async () => {
  await withControl({}, async ({ socket, engine }) => {
    const lines = await Lines.open(socket, WISHES);
    const { stopped } = await engine.trace();
    lines.response.destroy();
    await stopped;
  });
});

test('a client that goes away before its session began ends it too', async () => {
  await withControl({}, async ({ socket, engine }) => {
    let go!: () => void;
    engine.ready = new Promise((resolve) => (go = resolve));
    const stranger = connect(socket);
    const body = JSON.stringify(WISHES);
    stranger.write(
      `POST /v1/sessions HTTP/1.1\r\nhost: agent\r\ncontent-type: application/json\r\n` +
        `content-length: ${body.length}\r\n\r\n${body}`,
    );
    while (((await ask(socket, 'GET', '/v1/sessions')).body['sessions'] as []).length === 0);
    stranger.destroy();
    go();
    await (
      await engine.trace()
    ).stopped;
  });
});

test('a session lasts as long as it was asked to, and no longer than the agent allows', async () => {
  await withControl({ maxDurationMs: 50 }, async ({ socket }) => {
    const codes = async (durationMs?: number): Promise<unknown[]> => {
      const lines = await Lines.open(socket, { ...WISHES, ...(durationMs ? { durationMs } : {}) });
      return (await lines.rest()).map(({ type, code }) => code ?? type);
    };
    assert.deepEqual(await codes(10), ['started', 'summary']);
    assert.deepEqual(await codes(), ['started', 'SESSION_LIMIT', 'summary']);
    assert.deepEqual(await codes(1e6), ['started', 'DURATION_CUT', 'SESSION_LIMIT', 'summary']);
  });
});

test('no more sessions than are allowed', async () => {
  await withControl({ maxSessions: 1 }, async ({ socket, engine }) => {
    const lines = await Lines.open(socket, WISHES);
    const refused = await ask(socket, ...POST, { ...WISHES, durationMs: 50 });
    assert.deepEqual([refused.status, refused.body.error?.code], [429, 'TOO_MANY_SESSIONS']);
    (await engine.trace()).end();
    await lines.rest();
    (await Lines.open(socket, WISHES)).response.destroy();
  });
});

test('waiting for a process ends with the client, and with the agent', async () => {
  const signals: AbortSignal[] = [];
  const selectTargets: typeof select = async ({ waitMs }, options) => {
    assert.equal(waitMs, 30_000);
    assert.ok(options?.signal);
    signals.push(options.signal);
    await once(options.signal, 'abort');
    throw new UnderspanError('not-found', 'NOTHING_FITS', 'no process fits');
  };
  const waiting = { ...WISHES, selection: { pids: [42], waitMs: 30_000 } };
  await withControl({ selectTargets }, async ({ socket, engine, server }) => {
    const answer = ask(socket, ...POST, waiting);
    while (signals.length === 0) await ask(socket, 'GET', '/v1/version');
    await server.close('enough');
    const { status, body } = await answer;
    assert.deepEqual([status, body.error?.code], [500, 'SESSION_ENDED']);
    assert.deepEqual(engine.traces, []);
  });
});

function flood(sink: Sink): number {
  const big = { ...SPAN, attributes: { text: 'x'.repeat(100_000) } };
  let count = 0;
  for (; (sink.lost?.()['output'] ?? 0) === 0; count++) {
    assert.ok(count < 1_000, 'nothing bounds what waits for a slow reader');
    sink.spans([big]);
  }
  return count;
}

test('what a slow reader does not take is bounded and counted', async () => {
  await withControl({}, async ({ socket, engine }) => {
    const response = await send(socket, ...POST, WISHES);
    const { sink, end } = await engine.trace();
    const given = flood(sink);
    end();
    const rest = await new Lines(response).rest();
    const spans = rest.filter(({ type }) => type === 'span').length;
    const { output } = rest.at(-1)?.['lost'] as { output: number };
    assert.equal(output, 1);
    assert.equal(spans + output, given);
  });
});

test('close() ends all sessions, each with its summary', async () => {
  await withControl({}, async ({ socket, engine, server }) => {
    const lines = [await Lines.open(socket, WISHES), await Lines.open(socket, WISHES)];
    await engine.trace(1);
    const rest = Promise.all(lines.map((each) => each.rest()));
    await server.close('a new configuration');
    for (const each of await rest) {
      assert.deepEqual(
        each.map(({ type, code }) => code ?? type),
        ['started', 'AGENT_STOPS', 'summary'],
      );
      assert.match(String(each[1]?.['message']), /a new configuration/);
    }
    await assert.rejects(ask(socket, 'GET', '/v1/version'), { code: 'ENOENT' });
  });
});

test('close() does not wait for a client that reads nothing', async () => {
  await withControl({}, async ({ socket, engine, server, auditLog }) => {
    const response = await send(socket, ...POST, WISHES);
    const { sink, stopped } = await engine.trace();
    flood(sink);
    await server.close('now');
    await stopped;
    assert.match(readFileSync(auditLog, 'utf8'), /"session-end".*the agent stops: now/);
    response.destroy();
  });
});

test('close() does not wait for a session that does not begin', async () => {
  await withControl({}, async ({ socket, engine, server }) => {
    let go!: () => void;
    engine.ready = new Promise((resolve) => (go = resolve));
    const answer = send(socket, ...POST, WISHES).catch(() => undefined);
    while (((await ask(socket, 'GET', '/v1/sessions')).body['sessions'] as []).length === 0);
    await server.close('now');
    await answer;
    go();
    await (
      await engine.trace()
    ).stopped;
  });
});
