/** Whether a request is one tree, from the program's span down to functions of the kernel. */
import assert from 'node:assert/strict';
import { Agent, request } from 'node:http';
import { RunningProcess, sleep } from '../tools/process.js';
import { type JsonSpan, Tracer } from '../tools/tracer.js';
import { Truth } from '../tools/truth.js';

const TRUTH = '/tmp/shop.jsonl';
const REQUESTS = 20;
const LINES = 3;
const START_MS = 120_000;

const PATTERNS = [
  ...['main.(*ArchiveHandler).ServeHTTP', 'main.(*Shop).archive', 'main.store', 'main.answer'],
  ...['kernel:vfs_write', 'kernel:tcp_sendmsg', 'kernel:tcp_v4_rcv'],
];
const ARGUMENTS = ['lines', 'line', 'count', 'sk.__sk_common.skc_family', 'size'];

interface Traced {
  tracer: Tracer;
  truth: Truth;
  /** Trace ids of the requests, as the service told its client. */
  traceIds: string[];
}

/** One request; resolves to its trace id. */
function ask(url: string, agent: Agent): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = request(`${url}/archive?lines=${LINES}`, { agent }, (response) => {
      response.resume().on('end', () => resolve(String(response.headers['x-trace-id'])));
    });
    asked.on('error', reject).end();
  });
}

/** Resolves when it is attached; the machine's own limit ends what takes too long. */
export async function startTracer(args: readonly string[]): Promise<Tracer> {
  // Of a program that is refused the kernel's words are all that is left of the machine.
  const tracer = Tracer.start(['--verbose', ...args]);
  while (!tracer.stderr.includes('attached to')) {
    assert.equal(tracer.child.exitCode, null, tracer.stderr);
    await sleep(50);
  }
  return tracer;
}

async function trace(): Promise<Traced> {
  const env = { SHOP_TRUTH: TRUTH, OTEL_TRACES_EXPORTER: 'none' };
  const shop = await RunningProcess.start('/shop', [], env);
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  try {
    const listening = (): string | null => /^listening on (\S+)$/m.exec(shop.output)?.[1] ?? null;
    const url = await shop.until('listening', listening, START_MS);
    const symbols = PATTERNS.flatMap((pattern) => ['--symbol', pattern]);
    const values = ARGUMENTS.flatMap((path) => ['--arg', path]);
    const tracer = await startTracer(['--pid', String(shop.pid), ...symbols, ...values]);
    const traceIds: string[] = [];
    for (let i = 0; i < REQUESTS; i++) traceIds.push(await ask(url, agent));
    assert.equal(await tracer.stop(), 0, tracer.stderr);
    process.stderr.write(tracer.stderr);
    agent.destroy();
    await shop.stop();
    return { tracer, truth: await Truth.read(TRUTH), traceIds };
  } finally {
    agent.destroy();
    await shop.stop('SIGKILL');
  }
}

interface Node {
  name: string;
  traceId: string;
  spanId: string;
  parentSpanId: string | null;
  start: bigint;
  /** null: of the SDK, of which it is not known. */
  end: bigint | null;
}

const nodeOf = (span: JsonSpan): Node => ({
  ...span,
  start: BigInt(span.startTimeUnixNano),
  end: BigInt(span.endTimeUnixNano),
});

/** "main.answer(kernel:vfs_write(kernel:tcp_sendmsg))", in the order in which they began. */
export function shape(node: Node, childrenOf: ReadonlyMap<string, Node[]>): string {
  const children = childrenOf.get(node.spanId) ?? [];
  let last: bigint | null = null;
  const shapes = children
    .toSorted((a, b) => (a.start < b.start ? -1 : 1))
    .map((child) => {
      assert.equal(child.traceId, node.traceId, `${child.name} is in the trace of ${node.name}`);
      const after = last ?? (node.end === null ? 0n : node.start);
      assert(child.start >= after, `${child.name} begins after its elder in ${node.name}`);
      last = child.end;
      const within = child.end === null || node.end === null || child.end <= node.end;
      assert(within, `${child.name} ends before ${node.name}`);
      return shape(child, childrenOf);
    });
  return shapes.length > 0 ? `${node.name}(${shapes.join(' ')})` : node.name;
}

export function byParent(nodes: readonly Node[]): Map<string, Node[]> {
  const childrenOf = new Map<string, Node[]>();
  for (const node of nodes) {
    const parent = node.parentSpanId ?? '';
    childrenOf.set(parent, [...(childrenOf.get(parent) ?? []), node]);
  }
  return childrenOf;
}

export const nodesOf = (spans: readonly JsonSpan[]): Node[] => spans.map(nodeOf);

const repeated = (text: string, times: number): string =>
  Array.from({ length: times }, () => text).join(' ');

/** What hangs beneath the span of the server, and beneath the one that the service starts in it. */
const EXPECTED = [
  'main.(*ArchiveHandler).ServeHTTP(main.(*Shop).archive main.answer(kernel:vfs_write(kernel:tcp_sendmsg)))',
  `kernel:vfs_write ${repeated('main.store(kernel:vfs_write)', LINES)}`,
];

function checkRequest({ truth, tracer }: Traced, traceId: string): void {
  const own = [...truth.spans.values()]
    .filter((span) => span.trace === traceId)
    .sort((a, b) => a.order - b.order);
  assert.deepEqual(
    own.map(({ name }) => name),
    ['GET /archive', 'archive'],
  );
  const [server, archive] = own;
  assert.equal(archive?.parent, server?.span);
  const childrenOf = byParent(nodesOf(tracer.spans));
  const shapes = own.map(({ name, trace, span, parent, time }) => {
    const node = {
      ...{ name: '', traceId: trace, spanId: span, parentSpanId: parent },
      ...{ start: time, end: null },
    };
    assert(childrenOf.has(span), `nothing is beneath ${name}`);
    return shape(node, childrenOf).slice(1, -1);
  });
  assert.deepEqual(shapes, EXPECTED);
  const all = tracer.spans.filter((span) => span.traceId === traceId);
  assert.equal(all.length, 5 + 1 + 2 * LINES, `all of trace ${traceId} is in the tree`);
}

export async function checkKernelTree(): Promise<string> {
  const traced = await trace();
  const { tracer, traceIds } = traced;
  assert.equal(new Set(traceIds).size, REQUESTS);
  for (const traceId of traceIds) checkRequest(traced, traceId);
  checkArguments(tracer.spans);
  // Each argument is of a function of Go or of the kernel, and asked of nobody else.
  const told = tracer.notices.map(({ code }) => code);
  assert.deepEqual(told, ['PROCESS_FOLLOWED']);
  const { functions, lost: losses } = tracer.result;
  const of = (name: string) => functions.find((each) => each.name === name);
  assert.equal(of('main.store')?.calls, REQUESTS * LINES);
  const received = of('kernel:tcp_v4_rcv');
  assert.equal(received?.calls, 0, 'what interrupts do is the work of nobody');
  assert((received?.foreign ?? 0) > 0, 'hits in interrupts are told');
  assert.equal(of('main.store')?.foreign, 0);
  const all = functions.reduce((sum, { calls }) => sum + calls, 0);
  // What the kernel skipped was never counted as a call.
  const { missed = 0, ...reasons } = losses;
  const lost = Object.values(reasons).reduce((a, b) => a + b, 0);
  assert.equal(tracer.spans.length + lost, all, `spans + lost = calls; ${JSON.stringify(losses)}`);
  return `${REQUESTS} requests to the shop are trees down to the kernel, ${all} calls, ${lost} lost, ${missed} missed`;
}

const AF_INET = 2;

/** Numbers in registers, one behind a pointer, and arguments of Go beside them. */
function checkArguments(spans: readonly JsonSpan[]): void {
  const byId = new Map(spans.map((span) => [span.spanId, span]));
  const of = (name: string, around: string): JsonSpan['attributes'][] =>
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
    assert.equal(family, AF_INET, 'a field behind a pointer');
    assert(Number(attributes['underspan.arg.size']) > 0);
  }
  const archives = spans.filter(({ name }) => name === 'main.(*Shop).archive');
  assert.deepEqual(
    new Set(archives.map(({ attributes }) => Number(attributes['underspan.arg.lines']))),
    new Set([LINES]),
  );
}
