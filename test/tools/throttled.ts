/** A program in a control group that has used up its share of the CPU, traced meanwhile. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Tracer } from './tracer.js';
import { timesOf } from './waits.js';

/** A fifth of a CPU, in microseconds. */
const QUOTA = 20_000;
const PERIOD = 100_000;
/** Of CPU time, in milliseconds. */
const CALL = 100;
const CALLS = 4;

export interface Group {
  path: string;
  throttledNs(): number;
}

/** A control group of ours with that little CPU; null where there can be none. */
export function makeGroup(): Group | null {
  const own = readFileSync('/proc/self/cgroup', 'utf8');
  for (const [line, mount, limits, field, unit] of [
    [
      /^\d+:(?:[^:]*,)?cpu(?:,[^:]*)?:(.*)$/m,
      '/sys/fs/cgroup/cpu',
      { 'cpu.cfs_period_us': String(PERIOD), 'cpu.cfs_quota_us': String(QUOTA) },
      /^throttled_time (\d+)$/m,
      1,
    ],
    [
      /^0::(.*)$/m,
      '/sys/fs/cgroup',
      { 'cpu.max': `${QUOTA} ${PERIOD}` },
      /^throttled_usec (\d+)$/m,
      1e3,
    ],
  ] as const) {
    const path = join(mount, line.exec(own)?.[1] ?? '', `underspan-test-${process.pid}`);
    try {
      mkdirSync(path);
      for (const [file, text] of Object.entries(limits)) writeFileSync(join(path, file), text);
    } catch {
      continue;
    }
    const throttledNs = (): number =>
      Number(field.exec(readFileSync(join(path, 'cpu.stat'), 'utf8'))?.[1] ?? NaN) * unit;
    return { path, throttledNs };
  }
  return null;
}

/** `burn` is burn.c; `tolerance` of times, as a share. Returns what was seen; removes the group. */
export async function checkThrottled(
  burn: string,
  group: Group,
  tolerance: number,
): Promise<string> {
  const child = spawn(burn, { stdio: ['pipe', 'pipe', 'inherit'] });
  const exit = once(child, 'exit');
  try {
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    await lines.next();
    const tracer = await Tracer.attach(['--waits', '--pid', String(child.pid), 'burn']);
    writeFileSync(join(group.path, 'cgroup.procs'), String(child.pid));
    const before = group.throttledNs();
    let cpu = 0;
    let wall = 0;
    for (let call = 0; call < CALLS; call++) {
      child.stdin.write(`${CALL}\n`);
      const { value } = (await lines.next()) as { value: string };
      const [own, all] = value.split(' ').map(Number);
      cpu += own ?? NaN;
      wall += all ?? NaN;
    }
    const throttled = group.throttledNs() - before;
    assert.equal(await tracer.stop(), 0, tracer.stderr);
    const times = timesOf(tracer.spans);
    const ours = times['throttled'] ?? 0;
    const ms = (ns: number): string => `${Math.round(ns / 1e6)} ms`;
    const seen = `throttled ${ms(ours)}, by the kernel ${ms(throttled)}; ran ${ms(times['running'] ?? 0)}, by itself ${ms(cpu)} of ${ms(wall)}`;
    assert.equal(tracer.spans.length, CALLS);
    assert.ok(throttled > wall / 10, seen);
    // The kernel counts from when the last CPU has none left, and to when it gives some out again.
    assert.ok(Math.abs(ours / throttled - 1) < tolerance, seen);
    assert.ok(Math.abs((times['running'] ?? 0) / cpu - 1) < tolerance, seen);
    return seen;
  } finally {
    child.kill('SIGKILL');
    await exit;
    rmdirSync(group.path);
  }
}
