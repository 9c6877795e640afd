/** The context that a thread publishes is the parent of its calls, however it is published. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { inFolder } from '../tools/folder.js';
import {
  buildNativeContext,
  compilersOf,
  NATIVE_CONTEXT_BUILDS,
  type NativeContextBuild,
} from '../tools/native-context.js';
import { requireBpf, requireCommands } from '../tools/require.js';
import { type JsonSpan, totalLost, Tracer } from '../tools/tracer.js';

const THREADS = 3;
const ROUNDS = 40;
/** C++ has them mangled where they are not demangled. */
const FUNCTIONS = /^(?:_Z\d+)?(leaf|outer|switching)/;

/** A line of the program's log: a call, and what its parent must be. */
interface Call {
  thread: number;
  function: string;
  kind: string;
  parent: string;
}

/** Runs the program under trace; resolves to what it logged. `late`: it loads what publishes then. */
async function run(
  name: NativeContextBuild,
  folder: string,
  late = false,
): Promise<{ calls: Call[]; tracer: Tracer }> {
  const { path, env } = await buildNativeContext(name);
  if (late) Object.assign(env, { PUBLISH_LATE: '1', PAUSE_US: '20000' });
  const log = join(folder, 'log');
  const program = spawn(path, [String(THREADS), String(ROUNDS), log], {
    env: { ...process.env, ...env },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: program.stdout })[Symbol.asyncIterator]();
  const until = async (what: string): Promise<void> => {
    for (;;) {
      const line = await lines.next();
      assert.ok(!line.done, `it ended before "${what}"`);
      if (line.value === what) return;
      assert.match(line.value, /^thread /, `it is not at "${what}"`);
    }
  };
  try {
    await until(late ? 'begun' : 'ready');
    const tracer = await Tracer.attach(['--pid', String(program.pid), `/${FUNCTIONS.source}/`]);
    if (late) {
      program.stdin.write('\n');
      await until('ready');
    }
    program.stdin.write('\n');
    await until('done');
    await tracer.stop();
    const text = await readFile(log, 'utf8');
    const calls = text
      .trim()
      .split('\n')
      .map((line): Call => {
        const [thread, called = '', kind = '', parent = ''] = line.split(' ');
        return { thread: Number(thread), function: called, kind, parent };
      });
    return { calls, tracer };
  } finally {
    program.kill('SIGKILL');
    await once(program, 'exit');
  }
}

function assertParent(call: Call, span: JsonSpan, spans: readonly (JsonSpan | null)[]): void {
  const { traceId, parentSpanId, attributes } = span;
  const source = attributes['underspan.context.source'];
  assert.equal(FUNCTIONS.exec(span.name)?.[1], call.function);
  switch (call.kind) {
    case 'span':
      assert.equal(`${traceId}:${parentSpanId}`, call.parent);
      assert.equal(source, 'thread');
      break;
    case 'call': {
      const around = spans[Number(call.parent)];
      assert.equal(parentSpanId, around?.spanId, `${call.function} of call ${call.parent}`);
      assert.equal(traceId, around?.traceId);
      break;
    }
    default:
      assert.equal(call.kind, 'none');
      assert.equal(parentSpanId, null);
      assert.equal(source, 'none');
  }
}

/** The calls of each thread with their spans, null where there must be none. */
function threadsOf(calls: readonly Call[], tracer: Tracer): [Call, JsonSpan | null][][] {
  const threads = [...new Set(calls.map(({ thread }) => thread))];
  assert.equal(threads.length, THREADS);
  return threads.map((thread) => {
    const own = tracer.spans
      .filter(({ attributes }) => attributes['thread.id'] === thread)
      .sort((a, b) => Number(BigInt(a.startTimeUnixNano) - BigInt(b.startTimeUnixNano)));
    return calls
      .filter((call) => call.thread === thread)
      .map((call) => [call, call.kind === 'unsampled' ? null : (own.shift() ?? null)]);
  });
}

function assertCounts(calls: readonly Call[], tracer: Tracer): void {
  const { functions, lost } = tracer.result;
  assert.equal(
    functions.reduce((sum, each) => sum + each.calls, 0),
    calls.length,
  );
  assert.equal(tracer.spans.length + totalLost(tracer.result), calls.length);
  assert.equal(lost.unsampled, totalLost(tracer.result));
}

for (const name of Object.keys(NATIVE_CONTEXT_BUILDS) as NativeContextBuild[]) {
  test(`parents by what threads publish: ${name}`, async (t) => {
    if (!requireBpf(t) || !requireCommands(t, compilersOf(name))) return;
    const { calls, tracer } = await inFolder((folder) => run(name, folder));
    assertCounts(calls, tracer);
    assert.equal(
      tracer.result.lost.unsampled,
      calls.filter(({ kind }) => kind === 'unsampled').length,
    );
    for (const thread of threadsOf(calls, tracer)) {
      const spans = thread.map(([, span]) => span);
      for (const [call, span] of thread) {
        if (call.kind === 'unsampled') continue;
        assert.ok(span, `no span for ${call.function}`);
        assertParent(call, span, spans);
      }
    }
  });
}

for (const name of [
  'dlopen, general dynamic',
  'dlopen, descriptors, no static room',
  'musl, dlopen, descriptors',
] as const) {
  test(`what is loaded under trace is found: ${name}`, async (t) => {
    if (!requireBpf(t) || !requireCommands(t, compilersOf(name))) return;
    const { calls, tracer } = await inFolder((folder) => run(name, folder, true));
    assertCounts(calls, tracer);
    // It takes a moment, in which a call that is not sampled has a span as well.
    const roots = tracer.spans.filter(({ parentSpanId }) => parentSpanId === null).length;
    const expected = calls.filter(({ kind }) => kind === 'none').length;
    assert.ok(roots < 2 * expected, `${roots} roots, ${expected} expected`);
  });
}
