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

/** Runs the program under trace; resolves to what it logged. */
async function run(
  name: NativeContextBuild,
  folder: string,
): Promise<{ calls: Call[]; tracer: Tracer }> {
  const { path, env } = await buildNativeContext(name);
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
    }
  };
  try {
    await until('ready');
    const tracer = await Tracer.attach(['--pid', String(program.pid), `/${FUNCTIONS.source}/`]);
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

for (const name of Object.keys(NATIVE_CONTEXT_BUILDS) as NativeContextBuild[]) {
  test(`parents by what threads publish: ${name}`, async (t) => {
    if (!requireBpf(t) || !requireCommands(t, compilersOf(name))) return;
    const { calls, tracer } = await inFolder((folder) => run(name, folder));
    const threads = [...new Set(calls.map(({ thread }) => thread))];
    assert.equal(threads.length, THREADS);
    for (const thread of threads) {
      const logged = calls.filter((call) => call.thread === thread);
      const own = tracer.spans
        .filter(({ attributes }) => attributes['thread.id'] === thread)
        .sort((a, b) => Number(BigInt(a.startTimeUnixNano) - BigInt(b.startTimeUnixNano)));
      const spans = logged.map(({ kind }) => (kind === 'unsampled' ? null : (own.shift() ?? null)));
      assert.equal(own.length, 0);
      logged.forEach((call, index) => {
        const span = spans[index];
        if (call.kind === 'unsampled') return;
        assert.ok(span, `no span for ${call.function}`);
        assertParent(call, span, spans);
      });
    }
    const { functions, lost } = tracer.result;
    assert.equal(
      functions.reduce((sum, each) => sum + each.calls, 0),
      calls.length,
    );
    assert.equal(tracer.spans.length + totalLost(tracer.result), calls.length);
    assert.equal(lost.unsampled, calls.filter(({ kind }) => kind === 'unsampled').length);
    assert.equal(lost.unsampled, totalLost(tracer.result));
  });
}
