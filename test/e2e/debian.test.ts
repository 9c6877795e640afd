/**
 * Go servers as Debian ships them, traced under load: the calls are those that the server itself
 * counts, and nobody who uses it notices.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { debianPackage } from '../tools/debian.js';
import { inFolder } from '../tools/folder.js';
import { runLoad } from '../tools/load.js';
import { RunningProcess, sleep } from '../tools/process.js';
import { obtained, requireBpf } from '../tools/require.js';
import { totalLost, Tracer } from '../tools/tracer.js';

const REQUESTS = 2_000;

interface Server {
  suite: string;
  package: string;
  binary: string;
  /** Arguments, given a folder of its own and two free ports. */
  args: (folder: string, port: number, second: number) => string[] | Promise<string[]>;
  symbols: string[];
  /** By which it is seen to be up. */
  ready: (port: number, second: number) => Promise<unknown>;
  load: (port: number) => Promise<void>;
  /** What it has counted itself, by function. */
  counted: (port: number, second: number) => Promise<Record<string, number>>;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

async function text(url: string, body?: string): Promise<string> {
  const response = await fetch(url, body === undefined ? {} : { method: 'POST', body });
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  return response.text();
}

/** The sum of a metric's samples whose labels hold all of these. */
function metric(metrics: string, name: string, ...labels: string[]): number {
  return metrics
    .split('\n')
    .filter((line) => line.startsWith(name) && labels.every((label) => line.includes(label)))
    .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

async function get(url: string): Promise<void> {
  const load = await runLoad({
    urls: [url],
    requests: REQUESTS,
    concurrency: 8,
    accept: (s) => s === 200,
  });
  assert.equal(load.failures, 0, load.firstFailure ?? '');
}

const API = 'github.com/prometheus/prometheus/web/api/v1.(*API)';

const prometheus = (suite: string): Server => ({
  suite,
  package: 'prometheus',
  binary: 'usr/bin/prometheus',
  args: async (folder, port) => {
    const file = join(folder, 'prometheus.yml');
    await writeFile(file, 'global: {scrape_interval: 1h}\n');
    return [
      `--config.file=${file}`,
      `--storage.tsdb.path=${folder}/data`,
      `--web.listen-address=127.0.0.1:${port}`,
    ];
  },
  symbols: [`${API}.query`, `${API}.labelNames`, 'github.com/prometheus/prometheus/promql.*'],
  ready: (port) => text(`http://127.0.0.1:${port}/-/ready`),
  load: async (port) => {
    await get(`http://127.0.0.1:${port}/api/v1/query?query=1%2B1`);
    await get(`http://127.0.0.1:${port}/api/v1/labels`);
  },
  counted: async (port) => {
    const metrics = await text(`http://127.0.0.1:${port}/metrics`);
    const requests = (handler: string): number =>
      metric(metrics, 'prometheus_http_requests_total', `handler="${handler}"`);
    return {
      [`${API}.query`]: requests('/api/v1/query'),
      [`${API}.labelNames`]: requests('/api/v1/labels'),
    };
  },
});

const KV = 'go.etcd.io/etcd/etcdserver/api/v3rpc.(*kvServer)';

const servers: Server[] = [
  prometheus('bookworm'),
  prometheus('trixie'),
  prometheus('sid'),
  {
    suite: 'bookworm',
    package: 'etcd-server',
    binary: 'usr/bin/etcd',
    args: (folder, port, second) => [
      ...['--data-dir', join(folder, 'data'), '--listen-client-urls', `http://127.0.0.1:${port}`],
      ...['--advertise-client-urls', `http://127.0.0.1:${port}`],
      ...['--listen-peer-urls', `http://127.0.0.1:${second}`],
      ...['--initial-advertise-peer-urls', `http://127.0.0.1:${second}`],
      ...['--initial-cluster', `default=http://127.0.0.1:${second}`],
    ],
    symbols: [`${KV}.Put`, `${KV}.Range`],
    ready: async (port) => {
      await text(`http://127.0.0.1:${port}/v3/kv/range`, '{"key":"YQ=="}');
    },
    load: async (port) => {
      const put = async (n: number): Promise<void> => {
        await text(
          `http://127.0.0.1:${port}/v3/kv/put`,
          JSON.stringify({ key: 'YQ==', value: btoa(String(n)) }),
        );
        await text(`http://127.0.0.1:${port}/v3/kv/range`, '{"key":"YQ=="}');
      };
      for (let n = 0; n < REQUESTS / 4; n += 8) {
        await Promise.all(Array.from({ length: 8 }, (_, index) => put(n + index)));
      }
    },
    counted: async (port) => {
      const metrics = await text(`http://127.0.0.1:${port}/metrics`);
      const handled = (method: string): number =>
        metric(metrics, 'grpc_server_handled_total', `grpc_method="${method}"`, 'KV"');
      return { [`${KV}.Put`]: handled('Put'), [`${KV}.Range`]: handled('Range') };
    },
  },
  {
    suite: 'bookworm',
    package: 'nats-server',
    binary: 'usr/sbin/nats-server',
    args: async (folder, port, second) => {
      // Its own account sends messages of the server's own through the same function.
      const file = join(folder, 'nats.conf');
      await writeFile(file, 'no_system_account: true\n');
      return ['-c', file, '-a', '127.0.0.1', '-p', String(port), '-m', String(second)];
    },
    symbols: ['github.com/nats-io/nats-server/server.(*client).processInboundClientMsg'],
    ready: (_, second) => text(`http://127.0.0.1:${second}/varz`),
    load: async (port) => {
      const client = connect(port, '127.0.0.1');
      await once(client, 'connect');
      client.write('CONNECT {"verbose":false}\r\n');
      for (let n = 0; n < REQUESTS; n++) client.write(`PUB orders.${n} 5\r\nhello\r\n`);
      client.write('PING\r\n');
      let said = '';
      for await (const data of client as AsyncIterable<Buffer>) {
        said += data.toString();
        if (said.includes('PONG')) break;
      }
      assert.doesNotMatch(said, /-ERR/);
      client.destroy();
    },
    counted: async (_, second) => {
      const varz = JSON.parse(await text(`http://127.0.0.1:${second}/varz`)) as { in_msgs: number };
      return {
        'github.com/nats-io/nats-server/server.(*client).processInboundClientMsg': varz.in_msgs,
      };
    },
  },
];

async function compare(t: TestContext, server: Server, binary: string): Promise<void> {
  await inFolder(async (folder) => {
    const [port, second] = [await freePort(), await freePort()];
    const process = await RunningProcess.start(binary, await server.args(folder, port, second), {});
    try {
      for (let left = 200; ; left--) {
        try {
          await server.ready(port, second);
          break;
        } catch (error) {
          if (left === 0) throw error;
          await sleep(100);
        }
      }
      const tracer = await Tracer.attach([
        ...['--pid', String(process.pid), '--ring-size', '64M', '--max-rate', '500'],
        ...server.symbols,
      ]);
      const before = await server.counted(port, second);
      await server.load(port);
      const after = await server.counted(port, second);
      assert.equal(await tracer.stop(), 0, tracer.stderr);
      const { functions } = tracer.result;
      const calls = functions.reduce((sum, each) => sum + each.calls, 0);
      assert.equal(tracer.spans.length + totalLost(tracer.result), calls);
      for (const [name, count] of Object.entries(after)) {
        const seen = functions.find((each) => each.name === name)?.calls;
        assert.equal(seen, count - (before[name] ?? 0), name);
        assert.ok((seen ?? 0) > 0, `${name} was not called`);
      }
      await server.ready(port, second);
      const status = await readFile(`/proc/${process.pid}/status`, 'utf8');
      t.diagnostic(
        `${tracer.stderr.split('\n')[0] ?? ''} ${calls} calls, ${tracer.spans.length} spans; ` +
          `the server has ${/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? '?'} KiB`,
      );
    } finally {
      await process.stop();
    }
  });
}

for (const server of servers) {
  test(`${server.package} of ${server.suite}`, async (t) => {
    if (!requireBpf(t)) return;
    const folder = await obtained(t, debianPackage(server.suite, server.package));
    if (folder === null) return;
    await compare(t, server, join(folder, server.binary));
  });
}
