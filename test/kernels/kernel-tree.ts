/** Whether a request is one tree, from the program's span down to functions of the kernel. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const CLI = fileURLToPath(new URL('../../cli/main.js', import.meta.url));
const TRUTH = '/tmp/system.json';
const REQUESTS = 20;
const TIME_LIMIT_MS = 300_000;

interface Truth {
  /** Trace ids by span id. */
  requests: Record<string, string>;
  stores: number;
  sends: number;
}

interface Span {
  name: string;
  traceId: string;
  spanId: string;
  parentSpanId: string | null;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  attributes: Record<string, unknown>;
}

interface Summary {
  functions: { name: string; calls: number; spans: number }[];
  lost: Record<string, number>;
}

const PATTERNS = [
  ...['main.handle', 'main.store', 'main.send'],
  ...['kernel:vfs_write', 'kernel:tcp_sendmsg', 'kernel:tcp_v4_rcv'],
];

function trace(): { spans: Span[]; summary: Summary; truth: Truth } {
  const symbols = PATTERNS.flatMap((pattern) => ['--symbol', pattern]);
  const values = ['count', 'sk.__sk_common.skc_family', 'size'].flatMap((path) => ['--arg', path]);
  const command = [
    'attach',
    '--verbose',
    '--output',
    'json',
    ...symbols,
    ...values,
    '--',
    '/system',
    TRUTH,
  ];
  const run = spawnSync(process.execPath, [CLI, ...command, String(REQUESTS)], {
    encoding: 'utf8',
    maxBuffer: 1 << 29,
    timeout: TIME_LIMIT_MS,
  });
  assert.ifError(run.error);
  assert.equal(run.status, 0, `trace attach ended with ${run.status}: ${run.stderr}`);
  process.stderr.write(run.stderr);
  const lines = run.stdout.split('\n').filter((line) => line.startsWith('{'));
  const parsed = lines.map((line) => JSON.parse(line) as { type: string });
  const summary = parsed.find(({ type }) => type === 'summary');
  assert(summary, `no summary; ${run.stderr}`);
  return {
    spans: parsed.filter(({ type }) => type === 'span') as unknown as Span[],
    summary: summary as unknown as Summary,
    truth: JSON.parse(readFileSync(TRUTH, 'utf8')) as Truth,
  };
}

/** "main.send(kernel:vfs_write(kernel:tcp_sendmsg))", in the order in which they began. */
function shape(span: Span, childrenOf: ReadonlyMap<string, Span[]>): string {
  const children = childrenOf.get(span.spanId) ?? [];
  let last = BigInt(span.startTimeUnixNano);
  const shapes = children
    .toSorted((a, b) => (BigInt(a.startTimeUnixNano) < BigInt(b.startTimeUnixNano) ? -1 : 1))
    .map((child) => {
      assert.equal(child.traceId, span.traceId, `${child.name} is in the trace of ${span.name}`);
      assert(BigInt(child.startTimeUnixNano) >= last, `${child.name} begins after its elder`);
      last = BigInt(child.endTimeUnixNano);
      assert(last <= BigInt(span.endTimeUnixNano), `${child.name} ends before ${span.name}`);
      return shape(child, childrenOf);
    });
  return shapes.length > 0 ? `${span.name}(${shapes.join(' ')})` : span.name;
}

export function checkKernelTree(): string {
  const { spans, summary, truth } = trace();
  const childrenOf = new Map<string, Span[]>();
  for (const span of spans) {
    const parent = span.parentSpanId ?? '';
    childrenOf.set(parent, [...(childrenOf.get(parent) ?? []), span]);
  }
  const stores = Array.from({ length: truth.stores }, () => 'kernel:vfs_write').join(' ');
  const sends = Array.from(
    { length: truth.sends },
    () => 'kernel:vfs_write(kernel:tcp_sendmsg)',
  ).join(' ');
  assert.equal(Object.keys(truth.requests).length, REQUESTS);
  for (const [spanId, traceId] of Object.entries(truth.requests)) {
    const beneath = childrenOf.get(spanId) ?? [];
    const [handle] = beneath;
    assert(
      handle?.name === 'main.handle',
      `beneath a request: ${beneath.map(({ name }) => name).join()}`,
    );
    assert.equal(handle.traceId, traceId);
    assert.equal(
      shape(handle, childrenOf),
      `main.handle(main.store(${stores}) main.send(${sends}))`,
    );
  }
  checkArguments(spans);
  const calls = Object.fromEntries(summary.functions.map(({ name, calls }) => [name, calls]));
  assert.equal(calls['main.handle'], REQUESTS);
  assert.equal(calls['kernel:tcp_v4_rcv'] ?? 0, 0, 'what interrupts do is the work of nobody');
  const all = Object.values(calls).reduce((a, b) => a + b, 0);
  // What the kernel skipped was never counted as a call.
  const { missed = 0, ...reasons } = summary.lost;
  const lost = Object.values(reasons).reduce((a, b) => a + b, 0);
  assert.equal(spans.length + lost, all, `spans + lost = calls; ${JSON.stringify(summary)}`);
  return `${REQUESTS} requests are trees down to the kernel, ${all} calls, ${lost} lost, ${missed} missed`;
}

const AF_INET = 2;
const AF_INET6 = 10;

/** Numbers in registers, and one behind a pointer. */
function checkArguments(spans: readonly Span[]): void {
  const byId = new Map(spans.map((span) => [span.spanId, span]));
  const of = (name: string, around: string): Record<string, unknown>[] =>
    spans
      .filter((span) => span.name === name && byId.get(span.parentSpanId ?? '')?.name === around)
      .map(({ attributes }) => attributes);
  for (const { 'underspan.arg.count': count } of of('kernel:vfs_write', 'main.store')) {
    assert.equal(Number(count), 'a line\n'.length, 'an argument that is a number');
  }
  const sent = of('kernel:tcp_sendmsg', 'kernel:vfs_write');
  assert(sent.length > 0);
  for (const attributes of sent) {
    const family = Number(attributes['underspan.arg.sk.__sk_common.skc_family']);
    assert(family === AF_INET || family === AF_INET6, `a field behind a pointer is ${family}`);
    assert(Number(attributes['underspan.arg.size']) > 0);
  }
}
