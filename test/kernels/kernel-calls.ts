/** Whether calls of kernel functions are counted as the program that makes them counts them. */
import assert from 'node:assert/strict';
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { BpfMap, Features, Link, Native, Programs } from '../../src/native/native.js';
import { objectPath, SESSION_MAPS, shardCount } from '../../src/session/attachment.js';
import { readStatistics } from '../../src/session/statistics.js';
import {
  processSettings,
  settings,
  target,
  targetModule,
} from '../../src/spans/records.generated.js';

/** The last runs in soft interrupts only, where no task's work is done. */
const FUNCTIONS = ['vfs_write', 'tcp_sendmsg', 'tcp_v4_rcv'] as const;
const CALLS = 1_000;
const ATTACHMENT = 7;
const FIRST_FUNCTION = 1;

export type KernelWay = 'multi' | 'perf' | 'trampoline';

export const kernelWays = (features: Features): KernelWay[] => [
  ...(features.kprobeMulti ? (['multi'] as const) : []),
  ...(features.kprobes ? (['perf'] as const) : []),
  ...(features.fentry ? (['trampoline'] as const) : []),
];

function addressesOf(names: readonly string[]): BigUint64Array {
  const symbols = new Map(
    readFileSync('/proc/kallsyms', 'utf8')
      .split('\n')
      .map((line) => line.split(/\s+/))
      .map(([address = '', , name = '']) => [name, BigInt(`0x${address || '0'}`)] as const),
  );
  return BigUint64Array.from(names, (name) => symbols.get(name) ?? 0n);
}

async function launch(): Promise<ChildProcessWithoutNullStreams> {
  const child = spawn('/syscalls', [String(CALLS)]);
  await once(child, 'spawn');
  return child;
}

async function finish(child: ChildProcessWithoutNullStreams): Promise<Record<string, number>> {
  let output = '';
  child.stdout.on('data', (text: Buffer) => (output += text.toString()));
  child.stdin.write('go\n');
  await once(child, 'close');
  return JSON.parse(output) as Record<string, number>;
}

/** Counts the calls of a program in one way, with another that is no target beside it. */
async function count(native: Native, features: Features, way: KernelWay): Promise<string> {
  const shards = shardCount(features);
  const shared = Buffer.alloc(processSettings.size);
  shared.writeUInt32LE(shards - 1, processSettings.shardMask);
  const processes = await native.load({
    object: objectPath('processes', features),
    settings: shared,
    maps: { statistics: { maxEntries: (FUNCTIONS.length + 1) * shards } },
    attach: 'perf',
    sleepable: false,
  });
  const maps: Record<string, { maxEntries?: number; reuse?: BpfMap }> = {
    site_by_address: { maxEntries: FUNCTIONS.length },
    ...Object.fromEntries(SESSION_MAPS.map((name) => [name, { reuse: processes.map(name) }])),
  };
  const distance = way === 'trampoline' ? 0 : await native.kernelReturnDistance(way === 'multi');
  assert(distance !== null, 'the distance of stack pointers can be measured');
  const load = (kernelFunction?: string, number = FIRST_FUNCTION): Promise<Programs> => {
    const own = Buffer.alloc(settings.size);
    own.writeUInt32LE(shards - 1, settings.shardMask);
    own.writeUInt32LE(ATTACHMENT, settings.attachment);
    own.writeUInt32LE(distance, settings.returnDistance);
    own.writeBigUInt64LE(BigInt(number), settings.firstFunction);
    own.writeUInt8(features.cookies ? 1 : 0, settings.hasCookies);
    own.writeUInt8(1, settings.roots);
    return native.load({
      object: objectPath('kernel', { ...features, sleepable: false }),
      settings: own,
      maps,
      attach: 'perf',
      sleepable: false,
      kprobeMulti: way === 'multi',
      ...(kernelFunction === undefined ? {} : { kernelFunction }),
      programs: kernelFunction ? ['enter_trampoline', 'leave_trampoline'] : ['enter', 'leave'],
    });
  };
  const addresses = addressesOf(FUNCTIONS);
  const cookies = Float64Array.from(FUNCTIONS, (_, index) => FIRST_FUNCTION + index);
  const loaded: Programs[] = [];
  const links: Link[] = [];
  const started = performance.now();
  if (way === 'trampoline') {
    for (const [index, name] of FUNCTIONS.entries()) {
      const programs = await load(name, FIRST_FUNCTION + index);
      const site = { addresses: addresses.slice(index, index + 1), cookies: cookies.slice(0, 1) };
      links.push(
        await programs.attachKernel('leave_trampoline', { ...site, returns: true }),
        await programs.attachKernel('enter_trampoline', { ...site, returns: false }),
      );
      loaded.push(programs);
    }
  } else {
    const programs = await load();
    if (!features.cookies) {
      for (const [index, address] of addresses.entries()) {
        const [key, value] = [Buffer.alloc(8), Buffer.alloc(4)];
        key.writeBigUInt64LE(address);
        value.writeUInt32LE(FIRST_FUNCTION + index);
        programs.map('site_by_address').update(key, value);
      }
    }
    links.push(
      await programs.attachKernel('leave', { addresses, cookies, returns: true }),
      await programs.attachKernel('enter', { addresses, cookies, returns: false }),
    );
    loaded.push(programs);
  }
  const attached = performance.now() - started;
  const [child, other] = [await launch(), await launch()];
  // A return probe has as many places for calls in progress as there are CPUs, for all processes.
  if (way === 'perf') await finish(other);
  const key = Buffer.alloc(4);
  key.writeUInt32LE(child.pid as number);
  const value = Buffer.alloc(target.size);
  value.writeUInt32LE(ATTACHMENT, target.modules + targetModule.attachment);
  processes.map('targets').update(key, value);
  const [truth] = await Promise.all([finish(child), way === 'perf' ? null : finish(other)]);
  const counted = readStatistics(processes.map('statistics'), FUNCTIONS.length + 1, shards);
  const missed = loaded.flatMap((programs) => programs.runTimes());
  await Promise.all(links.map((link) => link.detach()));
  for (const programs of [...loaded, processes]) programs.close();
  const seen = FUNCTIONS.map((name, index) => {
    const { calls, returns, unpairedReturns, spans, lost, foreign } = counted[index + 1]!;
    const lostSum = lost.reduce((a, b) => a + b, 0);
    return { name, calls, returns, unpairedReturns, spans, lost: lostSum, foreign };
  });
  const said = `${way} (${attached.toFixed(0)} ms, ${distance}): ${JSON.stringify(seen)} ${JSON.stringify(missed)}`;
  // A trampoline's program that is preempted is not run again on that CPU meanwhile, which is counted.
  const skipped =
    way === 'trampoline'
      ? missed.reduce((sum, { recursionMisses }) => sum + recursionMisses, 0)
      : 0;
  const near = (seen: number, expected: number, what: string): void =>
    assert(Math.abs(seen - expected) <= skipped, `${what}: ${seen}, not ${expected}; ${said}`);
  for (const { name, calls, returns, unpairedReturns, spans, lost, foreign } of seen) {
    near(calls, truth[name] ?? 0, `calls of ${name}`);
    assert.equal(foreign > 0, name === 'tcp_v4_rcv', `hits of ${name} in interrupts; ${said}`);
    near(returns, calls, `returns of ${name}`);
    near(spans + lost, calls, `spans and losses of ${name}`);
    near(unpairedReturns, 0, `unpaired returns of ${name}`);
  }
  return `${way} counts ${counted.reduce((sum, { calls }) => sum + calls, 0)} calls in the kernel`;
}

export async function checkKernelCalls(native: Native, features: Features): Promise<string> {
  const said: string[] = [];
  for (const way of kernelWays(features)) said.push(await count(native, features, way));
  return said.join('; ');
}
