/** What tracing takes from a Go HTTP service under a steady load, and what its clients notice. */
import { planTrace } from '../src/engine.js';
import { loadNative } from '../src/native/load.js';
import { traceOptions } from '../test/tools/options.js';
import { type Found, type Measured, measured, notMeasured } from './reach.js';
import { BUDGET, hasOption, NO_BUDGET } from './tools/options.js';
import { BPFTRACE_BUFFERS, bpftraces, type Peer, PeerRun } from './tools/peers.js';
import { type Spread, spread } from './tools/rounds.js';
import { type Detach, FUNCTION, own, Service } from './tools/service.js';
import { range, twoDigits } from './tools/text.js';

const ROUNDS = 5;
/** Of what one CPU can do; low enough that a dear tracer does not saturate it. */
const PEER_LOAD = 0.15;

export async function measureService(): Promise<Found> {
  const service = await Service.start();
  try {
    const capacity = await service.capacity();
    return { ...(await withBudget(service, capacity)), ...(await besidePeers(service, capacity)) };
  } finally {
    await service.stop();
  }
}

async function withBudget(service: Service, capacity: number): Promise<Found> {
  if (!(await hasOption(BUDGET))) {
    const why = notMeasured(NO_BUDGET);
    return { tax: why, latencyHalf: why, latencyHigh: why };
  }
  const attach = own(service, [BUDGET, '5%']);
  const half = await service.compare(0.5 * capacity, attach);
  const high = await service.compare(0.85 * capacity, attach);
  return {
    tax: measured(
      'tax',
      half.tax.median,
      range(half.tax, (each) => each.toFixed(1), ' %'),
    ),
    latencyHalf: measured('latencyHalf', half.p99.median, range(half.p99, twoDigits)),
    latencyHigh: measured('latencyHigh', high.p99.median, range(high.p99, twoDigits)),
  };
}

async function besidePeers(service: Service, capacity: number): Promise<Found> {
  const rate = PEER_LOAD * capacity;
  const found: { name: string; ratio: Spread; own: Spread; peer: Spread }[] = [];
  const unlimited = (await hasOption(BUDGET)) ? [BUDGET, '100%'] : [];
  const script = await peerScript(service);
  const refused: string[] = [];
  for (const peer of await bpftraces()) {
    const why = await whyRefused(peer, script);
    if (why !== null) {
      refused.push(`${peer.name} refuses: ${why}`);
      continue;
    }
    const taxes = { own: [] as number[], peer: [] as number[] };
    for (let round = 0; round < ROUNDS; round++) {
      const untraced = await service.measure(rate, null);
      const traced = await service.measure(rate, own(service, unlimited));
      const others = await service.measure(rate, () => attachPeer(peer, script));
      taxes.own.push((traced.cpus - untraced.cpus) * 100);
      taxes.peer.push((others.cpus - untraced.cpus) * 100);
    }
    const ratio = spread(taxes.own.map((each, round) => each / (taxes.peer[round] ?? NaN)));
    found.push({ name: peer.name, ratio, own: spread(taxes.own), peer: spread(taxes.peer) });
  }
  return { taxPeer: peerRow(found, refused) };
}

function peerRow(
  found: readonly { name: string; ratio: Spread; own: Spread; peer: Spread }[],
  refused: readonly string[],
): Measured {
  if (found.length === 0) {
    return notMeasured(refused.join('; ') || 'bpftrace is not there (`scripts/fetch-peers`)');
  }
  const text = found.map(
    ({ name, ratio, own, peer }) =>
      `${range(ratio, twoDigits)} of ${name} (${own.median.toFixed(1)} % against ${peer.median.toFixed(1)} %)`,
  );
  return measured(
    'taxPeer',
    Math.max(...found.map(({ ratio }) => ratio.median)),
    [...text, ...refused].join('; '),
  );
}

/**
 * A return probe would kill a Go program sooner or later: as those do who know it, the entry and
 * each of its returns.
 */
async function peerScript({ binary, pid }: Service): Promise<string> {
  const plan = (await planTrace(loadNative(), traceOptions(pid, FUNCTION))).modules[0]?.plan;
  const planned = plan?.functions[0];
  if (!plan || !planned) throw new Error(`${FUNCTION} cannot be traced`);
  plan.module.close();
  const returns = planned.returns.map(
    ({ address }) => `uprobe:${binary}:"${FUNCTION}"+${address - planned.address}`,
  );
  return `uprobe:${binary}:"${FUNCTION}" { @s[tid] = nsecs; }
    ${returns.join(',\n')} /@s[tid]/ { @h = hist(nsecs - @s[tid]); delete(@s[tid]); }`;
}

/** Its own last words; null: it does what it is asked. */
async function whyRefused(peer: Peer, script: string): Promise<string | null> {
  try {
    await (
      await attachPeer(peer, script)
    )();
    return null;
  } catch (error) {
    const lines = (error instanceof Error ? error.message : String(error)).trim().split('\n');
    return (lines.at(-1) ?? '').replace(/^ERROR: /, '').replace(/: \S*\/\S*$/, '');
  }
}

async function attachPeer(peer: Peer, script: string): Promise<Detach> {
  const run = PeerRun.start(peer, ['-e', script]);
  await run.attached(2 + BPFTRACE_BUFFERS);
  return () => run.stop();
}
