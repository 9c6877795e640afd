/**
 * What a test needs of the host. Without it the test is skipped and says why; where the tests are
 * required to run (CI, or UNDERSPAN_REQUIRE_BPF=1) it fails instead, so that nothing goes untested
 * unnoticed.
 *
 *     it('…', (t) => {
 *       if (!requireBpf(t)) return;
 *
 *     describe('…', { skip: missingBpf() }, () => {
 *     describe('…', { skip: missingCommands('gcc') }, () => {
 */
import { accessSync, constants } from 'node:fs';
import { resolveExecutable } from '../../src/targets/executable.js';

export interface Skippable {
  skip(message?: string): void;
}

const UNSET = new Set(['', '0', 'false']);

function isSet(name: string): boolean {
  return !UNSET.has(process.env[name] ?? '');
}

/** The same reason, unless tests have to run. */
function optional(reason: string | null): string | null {
  if (reason !== null && (isSet('CI') || isSet('UNDERSPAN_REQUIRE_BPF'))) {
    throw new Error(`this test is required here and cannot run: ${reason}`);
  }
  return reason;
}

/** The same for what only one test needs: `reason` is why it cannot be had. */
export function need(t: Skippable, reason: string | null): boolean {
  if (optional(reason) === null) return true;
  t.skip(reason ?? undefined);
  return false;
}

function withoutRoot(): string | null {
  return process.geteuid?.() === 0 ? null : 'needs root';
}

/** Attaching uprobes goes through this file of the perf subsystem on every kernel. */
const UPROBES = '/sys/bus/event_source/devices/uprobe/type';

function withoutBpf(): string | null {
  const root = withoutRoot();
  if (root !== null) return root;
  try {
    accessSync(UPROBES, constants.R_OK);
    return null;
  } catch {
    return `this kernel has no uprobes (${UPROBES} cannot be read)`;
  }
}

/** True if the test may go on; false if it was skipped. */
export function requireRoot(t: Skippable): boolean {
  return need(t, withoutRoot());
}

/** True if the test may load and attach BPF programs; false if it was skipped. */
export function requireBpf(t: Skippable): boolean {
  return need(t, withoutBpf());
}

/** For a whole suite: why it cannot run, or false. */
export function missingBpf(): string | false {
  return optional(withoutBpf()) ?? false;
}

function withoutCommands(commands: readonly string[]): string | null {
  const missing = commands.filter((command) => {
    try {
      resolveExecutable(command);
      return false;
    } catch {
      return true;
    }
  });
  return missing.length > 0 ? `${missing.join(', ')} not installed` : null;
}

/** True if the compilers and other commands that a test runs are there; false if it was skipped. */
export function requireCommands(t: Skippable, commands: readonly string[]): boolean {
  return need(t, withoutCommands(commands));
}

/** For a whole suite: which commands it lacks, or false. */
export function missingCommands(...commands: string[]): string | false {
  return optional(withoutCommands(commands)) ?? false;
}

/** What a package or a toolchain that is fetched gives; null: it cannot be had, and the test was skipped. */
export async function obtained<T>(t: Skippable, what: Promise<T>): Promise<T | null> {
  try {
    return await what;
  } catch (error) {
    need(t, `it cannot be had: ${String(error).split('\n')[0] ?? ''}`);
    return null;
  }
}
