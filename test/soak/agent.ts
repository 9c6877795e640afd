/**
 * An agent that is left running: it traces the shop under a steady load and short-lived processes
 * that come and go, and delivers to a Collector. In the end every call must be accounted for.
 *
 *     npm run soak:agent [-- MINUTES]
 */
import { copyFile, readFile, rm } from 'node:fs/promises';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Account, accountOf } from '../tools/account.js';
import { AgentProcess } from '../tools/agent.js';
import { bpfObjectsOf } from '../tools/bpf.js';
import { Collector } from '../tools/collector.js';
import { inFolder } from '../tools/folder.js';
import { buildTarget } from '../tools/go.js';
import { quantile, runLoad } from '../tools/load.js';
import type { OpenMetricsText } from '../tools/openmetrics.js';
import { RunningProcess, sleep } from '../tools/process.js';
import { Shop } from '../tools/shop.js';
import { CallTally } from './call-tally.js';
import { SpanMeter } from './span-meter.js';

const MINUTES = Number(process.argv[2] ?? 10);
const REQUESTS_PER_SECOND = 100;
/** Often enough that no count is missed of probes that are taken back. */
const SAMPLE_MS = 5_000;
const IDLE = '20s';
/** The last ones run so seldom that their probes are taken back in between. */
const COPIES = [
  { name: 'tiny-a', everyMs: 700 },
  { name: 'tiny-b', everyMs: 1_100 },
  { name: 'tiny-c', everyMs: 60_000 },
  { name: 'tiny-d', everyMs: 75_000 },
];
/** For the last spans to arrive. */
const SETTLE_MS = 30_000;

interface Sample {
  minutes: number;
  rssKiB: number;
  heapKiB: number;
}

interface Programs {
  runs: number;
  failures: number;
  calls: number;
}

/** CPU time that a process has used, in seconds. */
function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** KiB a minute, by least squares. */
function slope(samples: readonly Sample[], of: (sample: Sample) => number): number {
  const mean = (values: number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
  const x = mean(samples.map(({ minutes }) => minutes));
  const y = mean(samples.map(of));
  const above = samples.reduce((sum, each) => sum + (each.minutes - x) * (of(each) - y), 0);
  return above / samples.reduce((sum, { minutes }) => sum + (minutes - x) ** 2, 0);
}

/** Runs copies of a small program again and again until `over`. */
async function comeAndGo(folder: string, over: AbortSignal, counts: Programs): Promise<void> {
  const tiny = await buildTarget('tiny');
  // All before the first runs: a child that is being made holds what is still open for writing.
  for (const { name } of COPIES) await copyFile(tiny, join(folder, name));
  await Promise.all(
    COPIES.map(async ({ name, everyMs }) => {
      const binary = join(folder, name);
      const report = join(folder, `${name}.json`);
      while (!over.aborted) {
        const running = await RunningProcess.start(binary, [report, '5', '100ms']);
        await running.ended();
        counts.runs++;
        if (running.child.exitCode !== 0) counts.failures++;
        const { calls } = JSON.parse(await readFile(report, 'utf8')) as {
          calls: Record<string, number>;
        };
        counts.calls += Object.values(calls).reduce((sum, each) => sum + each, 0);
        await rm(report);
        const next = Date.now() + everyMs;
        while (Date.now() < next && !over.aborted) await sleep(Math.min(everyMs, 500));
      }
    }),
  );
}

/** Of the functions that are traced. */
async function ownCalls(shop: Shop): Promise<number> {
  const { calls } = await shop.counters();
  return Object.entries(calls)
    .filter(([name]) => name.startsWith('main.'))
    .reduce((sum, [, count]) => sum + count, 0);
}

const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;
const mebibytes = (kibibytes: number): string => (kibibytes / 1024).toFixed(1);

async function soak(folder: string): Promise<boolean> {
  const meter = new SpanMeter(join(folder, 'traces.jsonl'));
  const collector = await Collector.start(folder);
  const shop = await Shop.start();
  const before = await ownCalls(shop);
  const agent = await AgentProcess.start(folder, {
    config: {
      rules: [
        {
          name: 'shop',
          select: { executable: shop.binary },
          trace: { symbols: 'main.*', maxRate: 0, fold: 0, maxOverhead: '100%' },
        },
        {
          name: 'tiny',
          select: { executable: join(folder, 'tiny-*') },
          trace: {
            symbols: ['main.work', 'main.step', 'main.descend', 'main.grow'],
            maxRate: 0,
            fold: 0,
            maxOverhead: '100%',
          },
        },
      ],
      export: {
        otlp: { endpoint: collector.endpoint },
        spool: { directory: join(folder, 'spool'), size: '64MiB' },
      },
      limits: { idle: IDLE },
    },
  });
  const over = new AbortController();
  const tally = new CallTally();
  const programs: Programs = { runs: 0, failures: 0, calls: 0 };
  const samples: Sample[] = [];
  const rows: string[][] = [];
  const begin = Date.now();
  const cpuAtBegin = cpuSeconds(agent.pid);
  let cpu = cpuAtBegin;

  const look = async (): Promise<{ metrics: OpenMetricsText; account: Account }> => {
    const metrics = await agent.metrics();
    tally.add(metrics);
    samples.push({
      minutes: (Date.now() - begin) / 60_000,
      rssKiB: agent.rss() / 1024,
      heapKiB: metrics.value('nodejs_heap_size_used_bytes') / 1024,
    });
    return { metrics, account: accountOf(metrics) };
  };
  const report = async (seconds: number): Promise<void> => {
    const { metrics, account } = await look();
    const now = cpuSeconds(agent.pid);
    const bpf = bpfObjectsOf(agent.pid);
    const { rssKiB = 0, heapKiB = 0 } = samples.at(-1) ?? {};
    const targets = metrics.samples('underspan_targets').reduce((sum, { value }) => sum + value, 0);
    const row = [
      ((Date.now() - begin) / 60_000).toFixed(1),
      mebibytes(rssKiB),
      mebibytes(heapKiB),
      percent((now - cpu) / seconds),
      targets,
      bpf.programs.size,
      bpf.links.size,
      bpf.maps.size,
      readdirSync(`/proc/${agent.pid}/fd`).length,
      (await ownCalls(shop)) - before,
      tally.of('shop'),
      programs.calls,
      tally.of('tiny'),
      account.delivered,
      meter.spans,
      account.waiting,
      JSON.stringify(account.lost),
    ].map(String);
    cpu = now;
    rows.push(row);
    console.log(row.join('  '));
  };

  const columns =
    'minute RSS heap CPU targets programs links maps descriptors shop-calls counted tiny-calls counted delivered arrived waiting lost';
  console.log(columns.split(' ').join('  '));
  const load = runLoad({
    urls: ['/order', '/order', '/order', '/order', '/panic?n=1', '/deep?n=5', '/exit?n=1'].map(
      (path) => shop.url + path,
    ),
    requests: Infinity,
    concurrency: 8,
    rate: REQUESTS_PER_SECOND,
    signal: over.signal,
  });
  const others = comeAndGo(folder, over.signal, programs);
  const end = begin + MINUTES * 60_000;
  let reported = begin;
  while (Date.now() < end) {
    await sleep(Math.min(SAMPLE_MS, end - Date.now()));
    if (Date.now() - reported < 60_000 - SAMPLE_MS / 2) await look();
    else {
      await report((Date.now() - reported) / 1_000);
      reported = Date.now();
    }
  }
  over.abort();
  const [result] = await Promise.all([load, others]);
  const cpuShare = (cpuSeconds(agent.pid) - cpuAtBegin) / ((Date.now() - begin) / 1_000);

  let own = 0;
  let account: Account;
  const deadline = Date.now() + SETTLE_MS;
  do {
    await sleep(500);
    own = (await ownCalls(shop)) - before;
    ({ account } = await look());
  } while (
    Date.now() < deadline &&
    (own !== tally.of('shop') ||
      account.delivered + account.allLost !== tally.total ||
      meter.spans !== account.delivered)
  );
  const left = bpfObjectsOf(agent.pid);
  const { status, ms } = await agent.stop();
  const complaints = agent.log.filter(({ level }) => level === 'warn' || level === 'error');
  await shop.stop();
  await collector.stop();
  meter.close();

  const half = samples.filter(({ minutes }) => minutes >= MINUTES / 2);
  const checks: [string, string, boolean][] = [
    ['requests failed', `${result.failures} of ${result.requests}`, result.failures === 0],
    ['processes failed', `${programs.failures} of ${programs.runs}`, programs.failures === 0],
    ['shop: own count = counted', `${own} = ${tally.of('shop')}`, own === tally.of('shop')],
    [
      'counted = delivered + lost',
      `${tally.total} = ${account.delivered} + ${account.allLost}`,
      tally.total === account.delivered + account.allLost,
    ],
    [
      'delivered = arrived',
      `${account.delivered} = ${meter.spans}`,
      account.delivered <= meter.spans && meter.spans <= account.delivered + account.repeated,
    ],
    ['stop', `status ${status} after ${Math.round(ms)} ms`, status === 0 && ms < 5_000],
  ];
  console.log();
  for (const [what, values, ok] of checks)
    console.log(`${ok ? 'ok    ' : 'FAILED'}  ${what}: ${values}`);
  console.log(
    [
      '',
      `${MINUTES} minutes, ${result.perSecond.toFixed(1)} requests/s, p50 ${quantile(result.latenciesMs, 0.5).toFixed(2)} ms, p99 ${quantile(result.latenciesMs, 0.99).toFixed(2)} ms`,
      `${programs.runs} short processes made ${programs.calls} calls, ${tally.of('tiny')} of them counted: the rest came before their probes`,
      `CPU of the agent: ${percent(cpuShare)} of one CPU`,
      `memory over the last half: RSS ${slope(half, (each) => each.rssKiB).toFixed(1)} KiB/min, heap ${slope(half, (each) => each.heapKiB).toFixed(1)} KiB/min`,
      `lost: ${JSON.stringify(account.lost)}; repeated: ${account.repeated}`,
      `BPF at the end: ${left.programs.size} programs, ${left.links.size} links, ${left.maps.size} maps`,
      ...complaints.map((line) => `log: ${JSON.stringify(line)}`),
      '',
    ].join('\n'),
  );
  return checks.every(([, , ok]) => ok);
}

process.exitCode = (await inFolder(soak)) ? 0 : 1;
