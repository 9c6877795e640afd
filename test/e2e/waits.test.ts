/** What calls of Go programs waited for, against what the program made them wait for. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { WAIT_REASONS } from '../../src/plan/go-waits.js';
import { GO_BUILDS, GO_RELEASES } from '../tools/go-builds.js';
import { goCommand } from '../tools/go.js';
import { traceReporting } from '../tools/reporting-target.js';
import { obtained, requireBpf } from '../tools/require.js';
import type { Tracer } from '../tools/tracer.js';
import { timesOf } from '../tools/waits.js';

const ROUNDS = 12;

/** By function, what it waits for; up to Go 1.19 the runtime does not tell locks from each other. */
const REASONS: Record<string, string | Record<string, string>> = {
  'main.locker': { '1.18': 'semaphore', '1.19': 'semaphore', other: 'mutex' },
  'main.sleeper': 'sleep',
  'main.receiver': 'channel_receive',
  'main.sender': 'channel_send',
  'main.selector': 'select',
  'main.waiter': {
    ...Object.fromEntries(['18', '19', '20', '21', '22', '23'].map((n) => [`1.${n}`, 'semaphore'])),
    other: 'condition',
  },
  'main.reader': 'network',
  'main.outer': 'sleep',
};

interface Counted {
  calls: number;
  nano: number;
}

const sum = (values: Iterable<number>): number => [...values].reduce((a, b) => a + b, 0);

function reasonOf(name: string, release: string): string | undefined {
  const reason = REASONS[name];
  const version = release.split('.').slice(0, 2).join('.');
  return typeof reason === 'object' ? (reason[version] ?? reason['other']) : reason;
}

function check(tracer: Tracer, counted: Record<string, Counted>, release: string): void {
  for (const [name, { calls, nano }] of Object.entries(counted)) {
    const spans = tracer.spans.filter((span) => span.name === name);
    assert.equal(spans.length, calls, name);
    const reason = reasonOf(name, release);
    const own = spans.map((span) => timesOf([span]));
    for (const [index, span] of spans.entries()) {
      const all = own[index] ?? {};
      assert.equal(sum(Object.values(all)), span.durationNano);
    }
    if (reason === undefined) continue;
    const spanned = sum(spans.map(({ durationNano }) => durationNano));
    assert.ok(spanned <= nano, `${name}: spans of ${spanned} ns, the program measured ${nano}`);
    const notRunning = sum(own.map((each) => (each[reason] ?? 0) + (each['runnable'] ?? 0)));
    assert.ok(notRunning > 0.8 * spanned, `${name}: ${notRunning} of ${spanned}`);
    // A page may not be there yet, and the runtime has locks of its own.
    const all = sum(own.flatMap((each) => Object.values(each)));
    const running = sum(own.map((each) => each['running'] ?? 0));
    assert.ok(all - running - notRunning < 0.1 * all, `${name}: ${all - running - notRunning}`);
  }
}

/** What the runtime's own source numbers its reasons by. */
async function reasonsOf(release: string): Promise<string[]> {
  const env = { ...process.env, GOTOOLCHAIN: `go${release}` };
  const { stdout } = await promisify(execFile)(goCommand(), ['env', 'GOROOT'], { env });
  const source = await readFile(join(stdout.trim(), 'src/runtime/runtime2.go'), 'utf8');
  const numbered = /waitReasonZero +waitReason = iota[^]*?\n\)/.exec(source)?.[0] ?? '';
  const names = [...numbered.matchAll(/^\s*(waitReason\w+)/gm)].map(([, name]) => name ?? '');
  const texts = new Map(
    [...source.matchAll(/(waitReason\w+): +"(.*?)"/g)].map(([, name, text]) => [name, text ?? '']),
  );
  return names.map((name) => texts.get(name) ?? '');
}

for (const release of GO_RELEASES) {
  test(`reasons of Go ${release}`, async (t) => {
    const reasons = await obtained(t, reasonsOf(release));
    if (reasons === null) return;
    const minor = Number(release.split('.')[1]);
    const known = WAIT_REASONS.findLast(([since]) => since <= minor)?.[1] ?? [];
    assert.ok(reasons.length > known.length);
    assert.deepEqual(reasons.slice(0, known.length), known);
  });

  test(`Go ${release}`, async (t) => {
    if (!requireBpf(t)) return;
    for (const build of GO_BUILDS.filter(({ name }) => ['default', 'strip'].includes(name))) {
      const args = (file: string): string[] => [String(ROUNDS), file];
      const options = ['--waits', 'main.*'];
      const traced = await traceReporting<Record<string, Counted>>(
        t,
        'waits',
        { release, build },
        args,
        options,
      );
      if (!traced) return;
      const { report: counted, tracer, named } = traced;
      check(tracer, counted, release);
      const reason = reasonOf('main.locker', release);
      const locked = named('main.locker')
        .map(({ events = [], links }) => ({
          // It may have waited for a processor, too.
          wait: events.find(({ attributes }) => attributes['underspan.wait.reason'] === reason),
          links,
        }))
        .filter(({ wait }) => wait !== undefined);
      assert.ok(locked.length >= ROUNDS / 3, `${locked.length} long waits for the lock`);
      for (const { wait, links } of locked) {
        assert.equal(wait?.attributes['underspan.wait.by.function'], 'main.holder');
        assert.equal(links?.length, 1);
      }
      const { functions } = tracer.summary ?? { functions: [] };
      assert.ok(functions.some(({ name }) => name === 'main.locker'));
    }
  });
}
