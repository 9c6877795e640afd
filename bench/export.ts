/** How many spans a second go from records to a Collector, and whether the event loop keeps up. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Pipeline } from '../src/session/pipeline.js';
import { OtlpSink } from '../src/sinks/otlp.js';
import { callRecord } from '../src/spans/records.generated.js';
import { Collector } from '../test/tools/collector.js';
import { batchOf, CALLS } from './decode.js';
import { type Found, measured } from './reach.js';
import { whole } from './tools/text.js';

/** What is asked for: of this the delay of the loop is told. */
const WANTED = 60_000;
const RATES = [30_000, WANTED, 80_000, 100_000, 120_000, 150_000];
const SECONDS = 6;
const TREE = 8;
/** As often as the reader looks at the ring. */
const TICK_MS = 5;

export interface ExportRun {
  rate: number;
  delivered: number;
  lost: number;
  /** Spans that waited when no more came. */
  behind: number;
  delayP99Ms: number;
  /** Of this process, in CPUs. */
  cpus: number;
}

export async function measureExport(): Promise<{ runs: ExportRun[]; found: Found }> {
  const folder = await mkdtemp(join(tmpdir(), 'underspan-bench-'));
  const collector = await Collector.start(folder, { keeps: false });
  try {
    await run(collector.endpoint, WANTED / 4);
    const runs: ExportRun[] = [];
    for (const rate of RATES) {
      const each = await run(collector.endpoint, rate);
      runs.push(each);
      if (!keptUp(each)) break;
    }
    const best = runs.filter(keptUp).at(-1);
    const atWanted = runs.find(({ rate }) => rate === WANTED);
    const delay = atWanted?.delayP99Ms ?? NaN;
    return {
      runs,
      found: {
        exported: measured('exported', best?.rate ?? 0, `${whole(best?.rate ?? 0)}/s`),
        loopDelay: measured('loopDelay', delay, `${delay.toFixed(0)} ms`),
      },
    };
  } finally {
    await collector.stop();
    await rm(folder, { recursive: true });
  }
}

/** Nothing was lost, and less than a second's worth was still to be sent. */
const keptUp = ({ rate, lost, behind }: ExportRun): boolean => lost === 0 && behind < rate;

async function run(endpoint: string, rate: number): Promise<ExportRun> {
  const sink = new OtlpSink({ endpoint, protocol: 'grpc', version: 'bench', onNotice: () => {} });
  const resource = { attributes: { 'service.name': 'shop', 'process.pid': 7 } };
  const pipeline = new Pipeline({
    sinks: [sink],
    functions: [
      undefined,
      {
        ...{ name: 'main.(*Shop).PlaceOrder', file: '/src/shop.go', line: 12 },
        addresses: { knows: () => true, load: () => Promise.resolve() } as never,
        filter: { slowerThanNs: null, errorsOnly: false, minDurationNs: 0, span: null, fold: 0 },
      },
    ],
    clockOffsetNs: 1_700_000_000_000_000_000n,
    resource: () => resource,
    openCalls: () => null,
    drained: () => Promise.resolve(),
    onProcess: () => undefined,
    onTracer: () => undefined,
  });
  const records = batchOf(TREE);
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const cpu = process.cpuUsage();
  const begin = performance.now();
  let sent = 0;
  let at = 0;
  await new Promise<void>((resolve) => {
    const timer = setInterval(() => {
      const seconds = (performance.now() - begin) / 1_000;
      let due = Math.floor((seconds * rate - sent) / TREE) * TREE;
      while (due > 0) {
        const count = Math.min(due, CALLS - at);
        pipeline.batch(records.subarray(at * callRecord.size, (at + count) * callRecord.size));
        at = (at + count) % CALLS;
        sent += count;
        due -= count;
      }
      if (seconds < SECONDS) return;
      clearInterval(timer);
      resolve();
    }, TICK_MS);
  });
  const elapsed = (performance.now() - begin) * 1_000;
  const { user, system } = process.cpuUsage(cpu);
  delay.disable();
  const behind = sink.state().queuedSpans;
  await sink.flush(30_000);
  const { delivered } = sink.state();
  await sink.close();
  return {
    rate,
    delivered,
    lost: sent - delivered,
    behind,
    delayP99Ms: delay.percentile(99) / 1e6,
    cpus: (user + system) / elapsed,
  };
}

export const exportTable = (
  runs: readonly ExportRun[],
): string => `| spans a second | delivered | lost | waiting at the end | event-loop delay p99, ms | CPUs | µs of CPU a span |
|---|---|---|---|---|---|---|
${runs
  .map(
    ({ rate, delivered, lost, behind, delayP99Ms, cpus }) =>
      `| ${whole(rate)} | ${whole(delivered)} | ${whole(lost)} | ${whole(behind)} | ${delayP99Ms.toFixed(0)} | ${cpus.toFixed(2)} | ${((cpus * 1e6) / rate).toFixed(1)} |`,
  )
  .join('\n')}
`;
