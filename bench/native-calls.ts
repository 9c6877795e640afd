/** What a traced call of a plain C program costs: against an empty program, and against others. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { planTrace, startTrace, type TraceOptions } from '../src/engine.js';
import { loadNative } from '../src/native/load.js';
import { projectRoot } from '../test/tools/go.js';
import { compileNative } from '../test/tools/native-targets.js';
import { traceOptions } from '../test/tools/options.js';
import { type Found, measured, notMeasured } from './reach.js';
import { Asked } from './tools/asked.js';
import { Floor } from './tools/floor.js';
import { bccTools, BPFTRACE_BUFFERS, bpftraces, type Peer, PeerRun } from './tools/peers.js';
import { difference, inTurn, ratios, type Spread, spread } from './tools/rounds.js';
import { range, twoDigits } from './tools/text.js';

const CALLS = 20_000;
const ROUNDS = 5;
const FUNCTION = 'work';
const FIRST_LOOK_MS = 400;

export interface NativeCost {
  what: string;
  addedNs: Spread;
}

/** Never reached: statistics alone are kept. */
const STATISTICS = { minDurationNs: 1e12 };

export async function measureNativeCalls(): Promise<{ costs: NativeCost[]; found: Found }> {
  const binary = await buildCalls();
  const target = await Asked.start(binary);
  try {
    return await measure(target);
  } finally {
    await target.stop();
  }
}

async function buildCalls(): Promise<string> {
  const folder = join(projectRoot, '.cache/bench');
  await mkdir(folder, { recursive: true });
  // As distributions compile today: CET, and frame pointers.
  const options = ['-O2', '-fcf-protection', '-fno-omit-frame-pointer'];
  return compileNative('gcc', 'calls.c', join(folder, 'calls'), options);
}

async function measure(target: Asked): Promise<{ costs: NativeCost[]; found: Found }> {
  const native = loadNative();
  const features = await native.features();
  const burn = (): Promise<number> => target.number(String(CALLS));
  const traced = (options: Partial<TraceOptions>) => async (): Promise<number> => {
    const trace = await startTrace(native, traceOptions(target.pid, FUNCTION, options));
    // Run times are measured at first, and then no more than now and then.
    await target.number('100');
    await new Promise((resolve) => setTimeout(resolve, FIRST_LOOK_MS));
    const ns = await burn();
    await trace.stop();
    return ns;
  };
  const best = { returnTrampoline: true };
  const options = traceOptions(target.pid, FUNCTION, best);
  const module = (await planTrace(native, options)).modules[0]?.plan;
  const planned = module?.functions[0];
  if (!module || !planned) throw new Error(`${FUNCTION} cannot be traced`);
  const floorSites = planned.trampoline
    ? { plain: [], around: [planned.entry.address] }
    : { plain: [planned.entry, ...planned.returns].map(({ address }) => address), around: [] };
  const floor = async (): Promise<number> => {
    const attached = await Floor.attach(native, features, module.module, target.pid, floorSites);
    const ns = await burn();
    await attached.detach();
    return ns;
  };
  const peers = await peersOf(target);
  const times = await inTurn(ROUNDS, {
    untraced: burn,
    floor,
    byDefault: traced(STATISTICS),
    statistics: traced({ ...best, ...STATISTICS }),
    span: traced({ ...best, ringBytes: 1 << 26 }),
    ...Object.fromEntries(peers.map(({ name, attach }) => [name, withPeer(attach, burn)])),
  });
  module.module.close();

  const added = (way: readonly number[]): Spread => spread(difference(way, times.untraced));
  const against = (way: readonly number[], other: readonly number[]): Spread =>
    spread(ratios(way, other, times.untraced));
  const byName = times as Record<string, number[]>;
  const compared = peers
    .filter(({ name }) => name.startsWith('bpftrace'))
    .map(({ name }) => ({ name, ratio: against(times.statistics, byName[name] ?? []) }));
  const hardest = compared.reduce((most, { ratio }) => Math.max(most, ratio.median), 0);
  const ofFloor = against(times.statistics, times.floor);
  const ofSpan = against(times.span, times.floor);
  return {
    costs: [
      {
        what: 'floor: an empty program at the entry and the replaced return',
        addedNs: added(times.floor),
      },
      { what: 'statistics, `--return-trampoline`', addedNs: added(times.statistics) },
      { what: 'a span per call, `--return-trampoline`', addedNs: added(times.span) },
      { what: 'statistics, by default', addedNs: added(times.byDefault) },
      ...peers.map(({ name }) => ({ what: name, addedNs: added(byName[name] ?? []) })),
    ],
    found: {
      cFloor: measured('cFloor', ofFloor.median, range(ofFloor, twoDigits)),
      cSpan: measured('cSpan', ofSpan.median, range(ofSpan, twoDigits)),
      cPeer:
        compared.length > 0
          ? measured(
              'cPeer',
              hardest,
              compared.map(({ name, ratio }) => `${range(ratio, twoDigits)} of ${name}`).join('; '),
            )
          : notMeasured('bpftrace is not there (`scripts/fetch-peers`)'),
    },
  };
}

interface AttachedPeer {
  name: string;
  attach: () => Promise<PeerRun>;
}

async function peersOf({ binary }: Asked): Promise<AttachedPeer[]> {
  const at = `${binary}:${FUNCTION}`;
  const script = `uprobe:${at} { @s[tid] = nsecs; }
    uretprobe:${at} /@s[tid]/ { @h = hist(nsecs - @s[tid]); delete(@s[tid]); }`;
  const bpftrace = (peer: Peer): AttachedPeer => ({
    name: peer.name,
    attach: async () => {
      const run = PeerRun.start(peer, ['-e', script]);
      await run.attached(2 + BPFTRACE_BUFFERS);
      return run;
    },
  });
  const funclatency = (peer: Peer): AttachedPeer => ({
    name: peer.name,
    attach: async () => {
      const run = PeerRun.start(peer, [at]);
      await run.attached(2);
      return run;
    },
  });
  return [
    ...(await bpftraces()).map(bpftrace),
    ...(await bccTools('funclatency')).map(funclatency),
  ];
}

const withPeer =
  (attach: () => Promise<PeerRun>, burn: () => Promise<number>) => async (): Promise<number> => {
    const peer = await attach();
    const ns = await burn();
    await peer.stop();
    return ns;
  };
