/**
 * Boots Debian's kernels in virtual machines and runs the smallest end-to-end test in each.
 *
 *     node dist/test/kernels/run.js [--write-features] [5.10 | 6.1 | 6.12 | newest]…
 */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildImage, kernels, missingPackages, type Kernel } from './image.js';
import { runMachine, type Outcome } from './machine.js';
import { RESULT, type Report } from './report.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const CACHE = join(ROOT, '.cache/kernels');
const AT_ONCE = 2;
const MEMORY_MEGABYTES = 1536;
const TIME_LIMIT_SECONDS = 900;
const CONSOLE_TAIL_LINES = 40;
/** An oops ends the machine; these do not. */
const KERNEL_COMPLAINT = /^.*(?:WARNING: CPU|BUG: |INFO: task .* blocked|possible circular).*$/m;

function lacks({ features }: Report): string {
  if (features === null) return 'what it has is not known';
  const missing = Object.entries(features).flatMap(([name, has]) => (has ? [] : [name]));
  return missing.length > 0 ? `without ${missing.join(', ')}` : 'lacks nothing';
}

/** What the test reported, if it ran to its end and passed. */
function check(outcome: Outcome): Report {
  assert(!outcome.timedOut, `no end within ${TIME_LIMIT_SECONDS} s`);
  assert(outcome.bootSeconds !== null, 'the kernel did not come up');
  const line = outcome.lines.find((text) => text.startsWith(RESULT));
  assert(line !== undefined, `the test reported nothing, exit status ${outcome.status}`);
  const report = JSON.parse(line.slice(RESULT.length)) as Report;
  assert(report.failure === null, `${report.failure}\n  ${lacks(report)}`);
  assert.equal(outcome.status, 0);
  const complaint = KERNEL_COMPLAINT.exec(outcome.console);
  assert(complaint === null, `the kernel complains: ${complaint?.[0]}`);
  return report;
}

function tail(text: string): string {
  const lines = text.trimEnd().split('\n');
  return lines
    .slice(-CONSOLE_TAIL_LINES)
    .map((line) => `    | ${line}`)
    .join('\n');
}

/** By kernel what it has, for the table in README.md (scripts/generate-features.mjs). */
const KNOWN = join(ROOT, 'test/kernels/features.json');
type Known = Record<string, Record<string, boolean>>;
const WRITE = '--write-features';

/** What a kernel has is written down, and a kernel that has something else fails. */
function compareFeatures({ name }: Kernel, { features }: Report, write: boolean): void {
  const known = JSON.parse(readFileSync(KNOWN, 'utf8')) as Known;
  if (write) {
    known[name] = { ...features };
    writeFileSync(KNOWN, `${JSON.stringify(known, null, 2)}\n`);
  }
  assert.deepEqual(features, known[name], `test/kernels/features.json says otherwise; ${WRITE}`);
}

async function test(kernel: Kernel, initramfs: string, write: boolean): Promise<boolean> {
  const start = (): Promise<Outcome> =>
    runMachine({
      kernel: kernel.image,
      initramfs,
      memoryMegabytes: MEMORY_MEGABYTES,
      timeLimitSeconds: TIME_LIMIT_SECONDS,
    });
  let outcome = await start();
  if (outcome.bootSeconds === null) {
    // Emulated timers go wrong on a busy host, and the kernel waits for them before it comes up.
    console.log(`${kernel.release} did not come up within ${outcome.seconds.toFixed(0)} s; again`);
    outcome = await start();
  }
  writeFileSync(join(CACHE, kernel.name, 'console.log'), outcome.console);
  const seconds = `${outcome.seconds.toFixed(0)} s`;
  try {
    const report = check(outcome);
    compareFeatures(kernel, report, write);
    const boot = outcome.bootSeconds?.toFixed(1);
    console.log(`ok ${kernel.release} (boot ${boot} s, all ${seconds})`);
    console.log(`  ${lacks(report)}; ${report.summary}`);
    return true;
  } catch (error) {
    const said = [...outcome.lines, outcome.console].join('\n');
    console.log(
      `FAILED ${kernel.release}: ${(error as Error).message} (${seconds})\n${tail(said)}`,
    );
    return false;
  }
}

async function main(given: string[]): Promise<number> {
  const write = given.includes(WRITE);
  const names = given.filter((name) => name !== WRITE);
  const missing = missingPackages();
  if (missing.length > 0) {
    console.error(`test machines need: apt-get install ${missing.join(' ')}`);
    return 1;
  }
  mkdirSync(CACHE, { recursive: true });
  const waiting = kernels(ROOT, CACHE, names);
  const initramfs = buildImage(ROOT, CACHE);
  let passed = 0;
  let failed = 0;
  const worker = async (): Promise<void> => {
    for (let kernel = waiting.shift(); kernel; kernel = waiting.shift()) {
      if (await test(kernel, initramfs, write)) {
        passed++;
      } else {
        failed++;
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  console.log(`${passed} passed, ${failed} failed`);
  return failed === 0 && passed > 0 ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2));
