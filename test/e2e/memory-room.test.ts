/** Probes that would take a process beyond what its control group may have. */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { requireBpf, requireCommands } from '../tools/require.js';
import { Tracer } from '../tools/tracer.js';

/**
 * Bytes. Far more than what is charged to a group in advance, which is 64 pages a processor (the
 * kernel's MEMCG_CHARGE_BATCH), and less than PAGES.
 */
const ROOM = 4 << 20;
/** Of the program, each with a function. */
const PAGES = 2_000;

const directory = mkdtempSync(join(tmpdir(), 'underspan-room-'));
after(() => rmSync(directory, { recursive: true }));

/** A program with a function in each of many pages, that waits for its standard input to end. */
function build(): string {
  const source = join(directory, 'wide.c');
  const file = join(directory, 'wide');
  const functions = Array.from(
    { length: PAGES },
    (_, i) => `__attribute__((aligned(4096))) int wide_${i}(int a) { return a ? a : ${i}; }`,
  );
  const main = 'int main(void) { puts("1"); fflush(stdout); return getchar() == 0; }';
  writeFileSync(source, ['#include <stdio.h>', ...functions, main].join('\n'));
  execFileSync('gcc', ['-O1', '-o', file, source]);
  return file;
}

/** A control group of ours, beneath our own; null where there can be none. */
function makeGroup(): { path: string; limit: string; usage: string } | null {
  const own = readFileSync('/proc/self/cgroup', 'utf8');
  for (const [line, mount, limit, usage] of [
    [/^\d+:memory:(.*)$/m, '/sys/fs/cgroup/memory', 'limit_in_bytes', 'usage_in_bytes'],
    [/^0::(.*)$/m, '/sys/fs/cgroup', 'max', 'current'],
  ] as const) {
    const path = join(mount, line.exec(own)?.[1] ?? '', `underspan-test-${process.pid}`);
    try {
      mkdirSync(path);
    } catch {
      continue;
    }
    if (existsSync(join(path, `memory.${limit}`))) {
      return { path, limit: join(path, `memory.${limit}`), usage: join(path, `memory.${usage}`) };
    }
    rmdirSync(path);
  }
  return null;
}

test('probes are refused that the memory of its control group has no room for', async (t) => {
  if (!requireBpf(t)) return;
  if (!requireCommands(t, ['gcc'])) return;
  const group = makeGroup();
  if (!group) return t.skip('no control group can be made here');
  let child: ChildProcess | null = null;
  try {
    child = spawn('sh', ['-c', `echo $$ > ${group.path}/cgroup.procs && exec ${build()}`], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    await once(child.stdout as NodeJS.ReadableStream, 'data');
    const used = Number(readFileSync(group.usage, 'utf8'));
    writeFileSync(group.limit, String(used + ROOM));

    const tracer = Tracer.start(['--pid', String(child.pid), '--no-follow-forks', 'wide_*']);
    assert.equal(await tracer.ended(), 1);
    assert.match(tracer.stderr, /KiB of program text private memory of process \d+/);
    assert.match(tracer.stderr, /underspan-test-\d+ has room for/);

    // Fewer pages are.
    const few = await Tracer.attach(['--pid', String(child.pid), 'wide_7']);
    assert.equal(await few.stop(), 0, few.stderr);
    assert.equal(child.exitCode, null);
  } finally {
    child?.stdin?.end('\n');
    if (child && child.exitCode === null) await once(child, 'exit');
    rmdirSync(group.path);
  }
});
