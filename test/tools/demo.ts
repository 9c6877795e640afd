import { once } from 'node:events';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { projectRoot } from './go.js';
import { runLoad } from './load.js';
import { isFunctionSpan, renderTrace } from './merged-tree.js';
import type { OtlpSpan } from './otlp.js';
import { Receiver } from './receiver.js';
import { Shop } from './shop.js';

/*
 * The sample service under a small load, traced for a few seconds by the command line tool. What
 * the service's SDK and the tool have sent to one receiver is shown as one tree a request.
 */

const TRACED_SECONDS = 5;
const REQUESTS_A_SECOND = 5;
const SHOWN = 2;

async function demo(): Promise<number> {
  const receiver = await Receiver.start();
  say('building and starting the sample service');
  const shop = await Shop.start({
    otlpEndpoint: receiver.endpoint,
    env: { SHOP_IO: '2ms', OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=demo' },
  });
  say(`the service runs as process ${shop.pid}, it exports its own spans to ${receiver.endpoint}`);
  const done = new AbortController();
  const load = runLoad({
    urls: [`${shop.url}/order`, `${shop.url}/order?items=1`, `${shop.url}/panic`],
    requests: 60 * REQUESTS_A_SECOND,
    concurrency: 4,
    rate: REQUESTS_A_SECOND,
    signal: done.signal,
  });
  try {
    const status = await trace(shop.pid, receiver.endpoint);
    done.abort();
    const { requests, failures } = await load;
    if (status !== 0) return status;
    await shop.flush();
    show(receiver.spans);
    say(`${requests} requests, ${failures} of them failed`);
    return failures === 0 ? verdict(receiver.spans) : 1;
  } finally {
    done.abort();
    await load;
    await shop.stop();
    receiver.stop();
  }
}

async function trace(pid: number, endpoint: string): Promise<number> {
  const args = ['attach', '--pid', String(pid), '--symbol', 'main.*', '--output', 'none'];
  args.push('--otlp', '--otlp-endpoint', endpoint, '--duration', `${TRACED_SECONDS}s`);
  say(`npx trace ${args.join(' ').replace('main.*', "'main.*'")}`);
  const child = spawn(process.execPath, [join(projectRoot, 'dist/cli/main.js'), ...args], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  const [status] = (await once(child, 'exit')) as [number | null];
  return status ?? 1;
}

/** Prints some requests of each kind that were traced from beginning to end. */
function show(spans: readonly OtlpSpan[]): void {
  const colour = process.stdout.isTTY;
  const traces = new Map<string, OtlpSpan[]>();
  for (const span of spans) {
    const trace = traces.get(span.traceId);
    if (trace) trace.push(span);
    else traces.set(span.traceId, [span]);
  }
  const shown = new Map<string, number>();
  for (const trace of traces.values()) {
    const root = trace.find((span) => span.parentSpanId === null && !isFunctionSpan(span));
    const whole = trace.some((span) => isFunctionSpan(span) && span.parentSpanId === root?.spanId);
    const before = shown.get(root?.name ?? '') ?? 0;
    if (!root || !whole || before >= (root.name === 'GET /order' ? SHOWN : 1)) continue;
    shown.set(root.name, before + 1);
    console.log(`\ntrace ${root.traceId}`);
    for (const line of renderTrace(trace, { colour })) console.log(line);
  }
  console.log("\n● the service's own spans   ƒ calls of its functions, found from outside\n");
}

function verdict(spans: readonly OtlpSpan[]): number {
  const ours = spans.filter(isFunctionSpan);
  const theirs = new Set(spans.filter((span) => !isFunctionSpan(span)).map((s) => s.spanId));
  const all = new Set(spans.map((span) => span.spanId));
  const under = ours.filter((span) => span.parentSpanId !== null && theirs.has(span.parentSpanId));
  const roots = ours.filter((span) => span.parentSpanId === null);
  const orphans = spans.filter((span) => span.parentSpanId !== null && !all.has(span.parentSpanId));
  say(
    `${ours.length} function spans arrived among ${theirs.size} of the service's own: ` +
      `${under.length} directly under one of those, ` +
      `${ours.length - under.length - roots.length} under another call, ` +
      `${roots.length} belong to no request`,
  );
  if (orphans.length > 0) {
    say(`wrong: ${orphans.length} spans name a parent that never arrived`);
    for (const { name, spanId, parentSpanId } of orphans.slice(0, 5))
      say(`  ${name} ${spanId} under ${parentSpanId}`);
    return 1;
  }
  if (under.length === 0) {
    say("wrong: no function span is under one of the service's own");
    return 1;
  }
  say('every parent exists');
  return 0;
}

function say(text: string): void {
  console.log(`demo: ${text}`);
}

process.exitCode = await demo();
