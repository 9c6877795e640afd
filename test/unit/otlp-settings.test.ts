/** What OTEL_EXPORTER_OTLP_* say is followed, by both protocols, or refused. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, test } from 'node:test';
import { ServerCredentials } from '@grpc/grpc-js';
import { UnderspanError } from '../../src/errors.js';
import { checkSettings, chooseProtocol } from '../../src/sinks/otlp-environment.js';
import { makeCertificates } from '../tools/certificates.js';
import { inFolder } from '../tools/folder.js';
import { HttpReceiver } from '../tools/http-receiver.js';
import type { OtlpSpan } from '../tools/otlp.js';
import { closeAll, codes, sinkTo, treeOf } from '../tools/otlp-sink.js';
import { Receiver } from '../tools/receiver.js';

afterEach(closeAll);

const PREFIX = 'OTEL_EXPORTER_OTLP_';

/** The settings are the process's own: one test at a time. */
async function withEnvironment<T>(
  variables: Record<string, string>,
  run: () => Promise<T>,
): Promise<T> {
  for (const [name, value] of Object.entries(variables)) process.env[PREFIX + name] = value;
  try {
    return await run();
  } finally {
    for (const name of Object.keys(variables)) delete process.env[PREFIX + name];
  }
}

/** Some spans by what the environment says; what the sink lost and said. */
async function deliver(
  variables: Record<string, string>,
  flushMs = 5_000,
  spans = 5,
): Promise<{ lost: Record<string, number>; notices: string[] }> {
  return withEnvironment(variables, async () => {
    const { sink, notices } = sinkTo(null);
    sink.spans(treeOf(spans));
    await sink.flush(flushMs);
    await sink.close();
    return { lost: sink.lost(), notices: codes(notices) };
  });
}

const NOTHING_LOST = { lost: { queue: 0, export: 0 }, notices: [] };

/** Counts what passes on its way to a port. */
class Meter {
  bytes = 0;
  private readonly sockets: Socket[] = [];

  private constructor(private readonly server: Server) {}

  static async start(port: number): Promise<Meter> {
    const meter: Meter = new Meter(
      createServer((from) => {
        const to = connect(port, '127.0.0.1');
        from.on('data', ({ length }) => (meter.bytes += length));
        from.pipe(to).pipe(from);
        for (const socket of [from, to]) socket.on('error', () => socket.destroy());
        meter.sockets.push(from, to);
      }),
    );
    meter.server.listen(0, '127.0.0.1');
    await once(meter.server, 'listening');
    return meter;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  stop(): void {
    this.server.close();
    for (const socket of this.sockets) socket.destroy();
  }
}

interface AnyReceiver {
  readonly endpoint: string;
  readonly spans: OtlpSpan[];
  header(name: string): unknown;
  stop(): void;
}

async function receiverOf(
  protocol: string,
  tls: { certificates: ReturnType<typeof makeCertificates>; client: boolean } | null,
): Promise<AnyReceiver> {
  const read = (path: string): Buffer => readFileSync(path);
  if (protocol === 'grpc') {
    const pair = tls && {
      private_key: read(tls.certificates.server.key),
      cert_chain: read(tls.certificates.server.certificate),
    };
    const authority = tls ? read(tls.certificates.authority.certificate) : null;
    const receiver = await Receiver.start(
      pair ? { credentials: ServerCredentials.createSsl(authority, [pair], tls.client) } : {},
    );
    return {
      endpoint: receiver.endpoint,
      spans: receiver.spans,
      header: (name) => receiver.metadata[0]?.get(name)[0],
      stop: () => receiver.stop(),
    };
  }
  const receiver = await HttpReceiver.start(
    tls
      ? {
          tls: {
            key: read(tls.certificates.server.key),
            cert: read(tls.certificates.server.certificate),
            ca: read(tls.certificates.authority.certificate),
            requestCert: tls.client,
            rejectUnauthorized: tls.client,
          },
        }
      : {},
  );
  return {
    endpoint: receiver.endpoint,
    spans: receiver.spans,
    header: (name) => receiver.headers[0]?.[name],
    stop: () => receiver.stop(),
  };
}

for (const protocol of ['grpc', 'http/protobuf']) {
  test(`endpoint and headers, those for traces first, by ${protocol}`, async () => {
    const receiver = await receiverOf(protocol, null);
    const path = protocol === 'grpc' ? '' : '/v1/traces';
    const result = await deliver({
      PROTOCOL: 'nonsense',
      TRACES_PROTOCOL: protocol,
      ENDPOINT: 'http://127.0.0.1:1',
      TRACES_ENDPOINT: receiver.endpoint + path,
      HEADERS: 'x-tenant=all,x-both=all',
      TRACES_HEADERS: 'x-both=traces,x-token=a%20b',
    });
    receiver.stop();
    assert.deepEqual(result, NOTHING_LOST);
    assert.equal(receiver.spans.length, 5);
    assert.equal(receiver.header('x-tenant'), 'all');
    assert.equal(receiver.header('x-both'), 'traces');
    assert.equal(receiver.header('x-token'), 'a b');
    assert.match(String(receiver.header('user-agent')), /^underspan\/1\.2\.3/);
  });

  test(`gzip, by ${protocol}`, async () => {
    const receiver = await receiverOf(protocol, null);
    const meter = await Meter.start(Number(new URL(receiver.endpoint).port));
    const sizes: number[] = [];
    for (const COMPRESSION of ['none', 'gzip']) {
      const before = meter.bytes;
      const variables = { PROTOCOL: protocol, ENDPOINT: meter.endpoint, COMPRESSION };
      assert.deepEqual(await deliver(variables, 5_000, 200), NOTHING_LOST);
      sizes.push(meter.bytes - before);
    }
    meter.stop();
    receiver.stop();
    assert.equal(receiver.spans.length, 400);
    const [plain = 0, compressed = 0] = sizes;
    assert.ok(compressed < plain / 3, `${compressed} of ${plain} bytes`);
  });

  test(`TLS, with and without a client certificate, by ${protocol}`, async () => {
    await inFolder(async (folder) => {
      const certificates = makeCertificates(folder);
      const receiver = await receiverOf(protocol, { certificates, client: true });
      const server = {
        PROTOCOL: protocol,
        ENDPOINT: receiver.endpoint,
        CERTIFICATE: certificates.authority.certificate,
      };
      const client = {
        TRACES_CLIENT_CERTIFICATE: certificates.client.certificate,
        TRACES_CLIENT_KEY: certificates.client.key,
      };
      assert.deepEqual(await deliver({ ...server, ...client }), NOTHING_LOST);
      assert.equal(receiver.spans.length, 5);
      for (const variables of [server, { ...server, ...client, CERTIFICATE: '' }]) {
        const refused = await deliver(variables, 700);
        assert.deepEqual(refused.lost, { queue: 0, export: 5 });
        assert.deepEqual(refused.notices, ['otlp-unreachable']);
      }
      assert.equal(receiver.spans.length, 5);
      receiver.stop();
    });
  });
}

test('headers that cannot be sent are told, and end the export', async () => {
  for (const protocol of ['grpc', 'http/protobuf']) {
    for (const HEADERS of ['x-token=a%0Ab', 'x token=a']) {
      assert.deepEqual(await deliver({ PROTOCOL: protocol, HEADERS }), {
        lost: { queue: 0, export: 5 },
        notices: ['otlp-configuration'],
      });
    }
  }
});

test('the path of a general endpoint is where all signals go', async () => {
  const paths: string[] = [];
  for (const variables of [
    { ENDPOINT: '' },
    { ENDPOINT: '/collector/' },
    { TRACES_ENDPOINT: '/exactly/here' },
  ]) {
    const receiver = await HttpReceiver.start();
    const [[name, path]] = Object.entries(variables) as [[string, string]];
    await deliver({ PROTOCOL: 'http/protobuf', [name]: receiver.endpoint + path });
    receiver.stop();
    paths.push(...receiver.paths);
  }
  assert.deepEqual(paths, ['/v1/traces', '/collector/v1/traces', '/exactly/here']);
});

test('options go before variables', async () => {
  const receiver = await HttpReceiver.start();
  for (const endpoint of [receiver.endpoint, `${receiver.endpoint}/other/path`]) {
    await withEnvironment({ PROTOCOL: 'grpc', ENDPOINT: 'http://127.0.0.1:1' }, async () => {
      const { sink } = sinkTo(endpoint, { protocol: 'http/protobuf' });
      sink.spans(treeOf(5));
      await sink.flush(5_000);
      await sink.close();
    });
  }
  receiver.stop();
  assert.deepEqual(receiver.paths, ['/v1/traces', '/other/path']);
  assert.equal(receiver.spans.length, 10);
});

test('what cannot be followed is refused, with the name of the variable', () => {
  const cases: [Record<string, string>, RegExp][] = [
    [{ PROTOCOL: 'http/json' }, /OTLP_PROTOCOL.*"http\/json"/],
    [{ TRACES_PROTOCOL: 'carrier pigeon' }, /TRACES_PROTOCOL/],
    [{ ENDPOINT: 'localhost:4318', PROTOCOL: 'http/protobuf' }, /OTLP_ENDPOINT/],
    [{ TRACES_ENDPOINT: 'http://' }, /TRACES_ENDPOINT/],
    [{ TIMEOUT: 'soon' }, /OTLP_TIMEOUT/],
    [{ TRACES_TIMEOUT: '-1' }, /TRACES_TIMEOUT/],
    [{ COMPRESSION: 'brotli' }, /OTLP_COMPRESSION/],
    [{ CERTIFICATE: '/nowhere/ca.pem' }, /OTLP_CERTIFICATE.*\/nowhere\/ca\.pem/],
    [{ CLIENT_KEY: '/dev/null' }, /OTLP_CLIENT_KEY/],
  ];
  for (const [variables, message] of cases) {
    const env = Object.fromEntries(
      Object.entries(variables).map(([name, value]) => [PREFIX + name, value]),
    );
    assert.throws(
      () => checkSettings(null, chooseProtocol(null, env), env),
      (error) =>
        error instanceof UnderspanError && error.kind === 'usage' && message.test(error.message),
      JSON.stringify(variables),
    );
  }
  assert.throws(() => chooseProtocol('http/json', {}), UnderspanError);
  assert.equal(chooseProtocol(null, {}), 'grpc');
  checkSettings(null, 'grpc', { [`${PREFIX}ENDPOINT`]: 'collector:4317' });
  checkSettings(null, 'grpc', { [`${PREFIX}ENDPOINT`]: '  ', [`${PREFIX}TIMEOUT`]: '' });
});
