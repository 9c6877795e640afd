import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { connect, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { test, type TestContext } from 'node:test';
import { AgentHttp, type AgentHttpOptions } from '../../src/agent/http.js';
import type { Log } from '../../src/agent/log.js';
import { UNGOVERNED } from '../tools/snapshot.js';
import type { RuleSnapshot } from '../../src/agent/snapshot.js';
import { UnderspanError } from '../../src/errors.js';

interface Reply {
  status: number | undefined;
  headers: IncomingHttpHeaders;
  body: string;
}

const rendered = { contentType: 'application/openmetrics-text', body: 'x 1\n# EOF\n' };

async function serving(
  t: TestContext,
  options: Partial<AgentHttpOptions> = {},
): Promise<{ http: AgentHttp; port: number; logged: string[] }> {
  const logged: string[] = [];
  const write = (_: object, message: string): void => void logged.push(message);
  const log: Log = { debug: write, info: write, warn: write, error: write };
  const http = await AgentHttp.start({
    listen: { host: '127.0.0.1', port: 0 },
    metrics: { render: () => Promise.resolve(rendered) },
    health: () => ({ ok: true, problem: null }),
    rules: () => [],
    log,
    ...options,
  });
  t.after(() => http.close().catch(() => undefined));
  return { http, port: http.address.port, logged };
}

async function ask(port: number, path: string, method = 'GET'): Promise<Reply> {
  const request = httpRequest({ host: '127.0.0.1', port, path, method, agent: false });
  request.end();
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  return {
    status: response.statusCode,
    headers: response.headers,
    body: await text(response),
  };
}

function rule(name: string, state: RuleSnapshot['state'], problem: string | null): RuleSnapshot {
  return { name, state, problem, maxOverhead: 0.05, governed: UNGOVERNED };
}

/** All that the server sends until it hangs up. */
async function raw(port: number, send: (socket: Socket) => void): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => undefined);
  send(socket);
  let received = '';
  socket.setEncoding('latin1').on('data', (chunk: string) => (received += chunk));
  await once(socket, 'close');
  return received;
}

test('/metrics', async (t) => {
  const { port } = await serving(t);
  for (const path of ['/metrics', '/metrics?format=text']) {
    const { status, headers, body } = await ask(port, path);
    assert.equal(status, 200);
    assert.equal(headers['content-type'], rendered.contentType);
    assert.equal(body, rendered.body);
  }
});

test('HEAD has the headers and no body', async (t) => {
  const { port } = await serving(t);
  const { status, headers, body } = await ask(port, '/metrics', 'HEAD');
  assert.deepEqual([status, headers['content-length'], body], [200, '10', '']);
});

test('/healthz', async (t) => {
  let health = { ok: true, problem: null as string | null };
  const { port } = await serving(t, { health: () => health });
  assert.equal((await ask(port, '/healthz')).status, 200);
  health = { ok: false, problem: 'the reader has stopped' };
  const { status, body } = await ask(port, '/healthz');
  assert.equal(status, 503);
  assert.deepEqual(JSON.parse(body), health);
});

test('/readyz names each rule and its problem', async (t) => {
  let rules = [rule('shop', 'ready', null)];
  const { port } = await serving(t, { rules: () => rules });
  assert.equal((await ask(port, '/readyz')).status, 200);
  rules = [...rules, rule('cart', 'pending', null), rule('pay', 'failed', 'no such function')];
  const { status, headers, body } = await ask(port, '/readyz');
  assert.equal(status, 503);
  assert.equal(headers['content-type'], 'application/json');
  assert.deepEqual(JSON.parse(body), {
    ready: false,
    rules: [
      { name: 'shop', state: 'ready', problem: null },
      { name: 'cart', state: 'pending', problem: null },
      { name: 'pay', state: 'failed', problem: 'no such function' },
    ],
  });
});

test('other paths and methods', async (t) => {
  const { port } = await serving(t);
  for (const path of ['/', '/metrics/', '//metrics', '/__proto__', '/constructor', '/%6detrics']) {
    assert.equal((await ask(port, path)).status, 404, path);
  }
  for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH']) {
    const { status, headers } = await ask(port, '/metrics', method);
    assert.deepEqual([status, headers.allow], [405, 'GET, HEAD'], method);
  }
});

test('scrapes at once share one render, later ones do not', async (t) => {
  const finish: (() => void)[] = [];
  const { port } = await serving(t, {
    metrics: {
      render: () => new Promise((resolve) => finish.push(() => resolve(rendered))),
    },
  });
  const three = [1, 2, 3].map(() => ask(port, '/metrics'));
  // Connections that were opened before are served by the time that these are.
  for (let rounds = 0; rounds < 10; rounds++) await ask(port, '/healthz');
  finish[0]?.();
  for (const { status, body } of await Promise.all(three)) {
    assert.deepEqual([status, body], [200, rendered.body]);
  }
  assert.equal(finish.length, 1);
  const later = ask(port, '/metrics');
  while (finish.length === 1) await ask(port, '/healthz');
  finish[1]?.();
  assert.equal((await later).status, 200);
});

test('a render that fails is a 500 and a line in the log, and the next one is made', async (t) => {
  let fails = true;
  const { port, logged } = await serving(t, {
    metrics: {
      render: () => (fails ? Promise.reject(new Error('s3cret')) : Promise.resolve(rendered)),
    },
  });
  const { status, body } = await ask(port, '/metrics');
  assert.equal(status, 500);
  assert.doesNotMatch(body, /s3cret/);
  assert.deepEqual(logged, ['a request could not be answered']);
  fails = false;
  assert.equal((await ask(port, '/metrics')).status, 200);
});

test('what throws beneath health and readiness is a 500 too', async (t) => {
  const fail = (): never => {
    throw new Error('bug');
  };
  const { port, logged } = await serving(t, { health: fail, rules: fail });
  assert.equal((await ask(port, '/healthz')).status, 500);
  assert.equal((await ask(port, '/readyz')).status, 500);
  assert.equal(logged.length, 2);
});

test('one connection takes several requests', async (t) => {
  const { port } = await serving(t);
  const received = await raw(port, (socket) => {
    socket.write('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n');
    socket.write('GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
  });
  assert.equal(received.match(/HTTP\/1\.1 200/g)?.length, 2);
});

test('what is too large or no HTTP is refused, and others are answered', async (t) => {
  const { port } = await serving(t);
  const long = await raw(port, (socket) => {
    socket.write(`GET /metrics HTTP/1.1\r\nHost: x\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`);
  });
  assert.match(long, /^HTTP\/1\.1 431/);
  assert.match(
    await raw(port, (socket) => socket.write('\x16\x03\x01\r\n\r\n')),
    /^HTTP\/1\.1 400/,
  );
  assert.equal((await ask(port, '/metrics')).status, 200);
});

test('a body that does not come to an end is not waited for', async (t) => {
  const { port } = await serving(t);
  const received = await raw(port, (socket) => {
    socket.write('POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nx');
  });
  assert.match(received, /^HTTP\/1\.1 405/);
  assert.match(received, /^connection: close\r$/im);
});

test('a client that sends no end of its headers is cut off', async (t) => {
  const { port } = await serving(t);
  const received = await raw(port, (socket) =>
    socket.write('GET /metrics HTTP/1.1\r\nHost: x\r\n'),
  );
  assert.match(received, /^HTTP\/1\.1 408/);
});

test('clients that leave in the midst do no harm', async (t) => {
  const { port, logged } = await serving(t, {
    metrics: {
      render: () => Promise.resolve({ contentType: 'text/plain', body: 'x'.repeat(5_000_000) }),
    },
  });
  for (let times = 0; times < 20; times++) {
    const socket = connect(port, '127.0.0.1');
    socket.write('GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n');
    await once(socket, 'data');
    socket.resetAndDestroy();
  }
  assert.equal((await ask(port, '/metrics')).body.length, 5_000_000);
  assert.deepEqual(logged, []);
});

test('closes though a client stays', async (t) => {
  const { http, port } = await serving(t, { metrics: { render: () => new Promise(() => {}) } });
  const idle = connect(port, '127.0.0.1');
  await once(idle, 'connect');
  const waiting = connect(port, '127.0.0.1');
  waiting.write('GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n');
  await ask(port, '/healthz');
  // As long as all of the agent may take to stop.
  const signal = AbortSignal.timeout(5_000);
  const gone = [idle, waiting].map((socket) => once(socket, 'close', { signal }));
  await Promise.all([http.close(), ...gone]);
});

test('a port that is in use', async (t) => {
  const { port } = await serving(t);
  await assert.rejects(serving(t, { listen: { host: '127.0.0.1', port } }), (error) => {
    assert.ok(error instanceof UnderspanError);
    assert.equal(error.code, 'metrics-listen');
    assert.equal(error.message, `cannot serve metrics at 127.0.0.1:${port}: the port is in use`);
    assert.match(error.hint ?? '', /metrics\.listen/);
    return true;
  });
});

test('an address that is not of this host', async (t) => {
  await assert.rejects(serving(t, { listen: { host: '192.0.2.1', port: 9090 } }), {
    message: 'cannot serve metrics at 192.0.2.1:9090: this host has no such address',
  });
});
