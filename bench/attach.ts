/** How long it takes to attach to many functions and to detach: ours and others, typed to done. */
import { Tracer } from '../test/tools/tracer.js';
import { type Found, measured, notMeasured, type RowName } from './reach.js';
import { Asked } from './tools/asked.js';
import { listOf, MANY, manyFunctions } from './tools/many-functions.js';
import { BPFTRACE_BUFFERS, bpftraces, type Peer, PeerRun } from './tools/peers.js';
import { type Spread, spread } from './tools/rounds.js';
import { range, twoDigits } from './tools/text.js';

const ROUNDS = 3;
const LISTS = [10, 100, 1_000, MANY];
/** A list is tried only if the one before lets expect that it takes no longer. */
const LIMIT_MS = 120_000;

interface Times {
  attachMs: number;
  detachMs: number;
}

export interface AttachTimes {
  peer: string;
  functions: number;
  attachMs: Spread;
  detachMs: Spread;
  ownAttachMs: Spread;
  ownDetachMs: Spread;
}

export async function measureAttaching(): Promise<{ times: AttachTimes[]; found: Found }> {
  const target = await Asked.start(await manyFunctions());
  try {
    const times: AttachTimes[] = [];
    for (const peer of await bpftraces()) times.push(await compare(peer, target));
    return {
      times,
      found: {
        attach: row('attach', times, (each) => each.ownAttachMs.median / each.attachMs.median),
        detach: row('detach', times, (each) => each.ownDetachMs.median / each.detachMs.median),
      },
    };
  } finally {
    await target.stop();
  }
}

function row(name: RowName, times: readonly AttachTimes[], ratio: (each: AttachTimes) => number) {
  if (times.length === 0) return notMeasured('bpftrace is not there (`scripts/fetch-peers`)');
  const text = times.map(
    (each) => `${twoDigits(ratio(each))} of ${each.peer} (${each.functions.toLocaleString('en')})`,
  );
  return measured(name, Math.max(...times.map(ratio)), text.join('; '));
}

/** On the largest list that the peer manages. */
async function compare(peer: Peer, target: Asked): Promise<AttachTimes> {
  let functions = LISTS[0] ?? 0;
  for (const next of LISTS) {
    functions = next;
    const { attachMs, detachMs } = await runPeer(peer, target, functions);
    const following = LISTS[LISTS.indexOf(next) + 1];
    if (following === undefined) break;
    if (((attachMs + detachMs) * following) / next > LIMIT_MS) break;
  }
  const own: Times[] = [];
  const others: Times[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    own.push(await runOwn(target, functions));
    others.push(await runPeer(peer, target, functions));
  }
  const of = (times: Times[], which: keyof Times): Spread =>
    spread(times.map((each) => each[which]));
  return {
    peer: peer.name,
    functions,
    attachMs: of(others, 'attachMs'),
    detachMs: of(others, 'detachMs'),
    ownAttachMs: of(own, 'attachMs'),
    ownDetachMs: of(own, 'detachMs'),
  };
}

async function timed(attach: () => Promise<() => Promise<unknown>>): Promise<Times> {
  const begin = performance.now();
  const detach = await attach();
  const attached = performance.now();
  // What happens right after the start is no part of either.
  await new Promise((resolve) => setTimeout(resolve, 500));
  const stopping = performance.now();
  await detach();
  return { attachMs: attached - begin, detachMs: performance.now() - stopping };
}

const runOwn = ({ pid }: Asked, functions: number): Promise<Times> =>
  timed(async () => {
    const args = ['--pid', String(pid), '--max-functions', String(MANY), '--min-duration', '10s'];
    const tracer = await Tracer.attach([...args, listOf(functions)]);
    return () => tracer.stop();
  });

const runPeer = (peer: Peer, { binary }: Asked, functions: number): Promise<Times> =>
  timed(async () => {
    const at = `${binary}:${listOf(functions)}`;
    const script = `uprobe:${at} { @s[tid] = nsecs; }
      uretprobe:${at} /@s[tid]/ { @h = hist(nsecs - @s[tid]); delete(@s[tid]); }`;
    const limits = { BPFTRACE_MAX_PROBES: '100000', BPFTRACE_MAX_BPF_PROGS: '100000' };
    const run = PeerRun.start(peer, ['-e', script], limits);
    await run.attached(2 * functions + BPFTRACE_BUFFERS);
    return () => run.stop();
  });

export const attachTable = (times: readonly AttachTimes[]): string => {
  const seconds = (ms: number): string => (ms / 1_000).toFixed(2);
  const rows = times.flatMap((each) => [
    `| ${each.functions.toLocaleString('en')} | ${each.peer} | ${range(each.attachMs, seconds)} | ${range(each.detachMs, seconds)} |`,
    `| ${each.functions.toLocaleString('en')} | Underspan | ${range(each.ownAttachMs, seconds)} | ${range(each.ownDetachMs, seconds)} |`,
  ]);
  return `| functions | | attached, s | detached, s |\n|---|---|---|---|\n${rows.join('\n')}\n`;
};
