/** `trace attach --agent` and `trace sessions` against an agent whose engine is a fake. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import { join, relative } from 'node:path';
import { Writable } from 'node:stream';
import { test } from 'node:test';
import type { Context } from '../../cli/context.js';
import { run } from '../../cli/run.js';
import { UnderspanError } from '../../src/errors.js';
import type { Notice, Sink, Summary } from '../../src/sinks/sink.js';
import type { FunctionSpan, ProgramSpan } from '../../src/spans/span.js';
import { Procfs } from '../../src/targets/procfs.js';
import { ask, Lines, SPAN, WISHES, withControl } from '../tools/control.js';
import { inFolder } from '../tools/folder.js';

/** A sink that keeps what it is given. */
class Kept implements Sink {
  readonly trees: (readonly FunctionSpan[])[] = [];
  readonly own: ProgramSpan[] = [];
  readonly notices: Notice[] = [];
  summary: Summary | null = null;
  flushed = false;

  spans(tree: readonly FunctionSpan[]): void {
    this.trees.push(tree);
  }

  programSpans(batch: readonly ProgramSpan[]): void {
    this.own.push(...batch);
  }

  notice(notice: Notice): void {
    this.notices.push(notice);
  }

  async flush(): Promise<void> {
    this.flushed = true;
  }

  lost(): Record<string, number> {
    return { output: 2 };
  }

  async close(summary: Summary): Promise<void> {
    this.summary = summary;
  }
}

interface Outcome {
  status: number;
  stdout: string;
  stderr: string;
  sink: Kept;
}

/** Nothing but the agent may be used: there is no addon. */
async function trace(...argv: string[]): Promise<Outcome> {
  const text = { stdout: '', stderr: '' };
  const stream = (name: 'stdout' | 'stderr'): NodeJS.WriteStream =>
    new Writable({
      write(chunk: Buffer, _encoding, done) {
        text[name] += chunk.toString();
        done();
      },
    }) as NodeJS.WriteStream;
  const sink = new Kept();
  const here = (): never => {
    throw new UnderspanError('unsupported', 'ADDON_MISSING', 'no addon');
  };
  const context: Context = {
    native: here,
    startTrace: here,
    planTrace: here,
    openSinks: () => [sink],
    procfs: new Procfs(),
    stdout: stream('stdout'),
    stderr: stream('stderr'),
  };
  const status = await run(argv, context);
  return { status, ...text, sink };
}

test('what the agent sends comes to the sinks as it was', async () => {
  await withControl({}, async ({ socket, engine }) => {
    engine.notices = [{ code: 'N', message: 'of the plan' }];
    const outcome = trace('attach', `--agent=${socket}`, '--pid', '42', 'main.*');
    const { sink, end } = await engine.trace();
    const { traceId, spanId, parentSpanId, resource, startTimeUnixNano, endTimeUnixNano } = SPAN;
    const own = {
      ...{ traceId, spanId, parentSpanId, name: 'GET /', resource },
      ...{ startTimeUnixNano, endTimeUnixNano },
    };
    sink.programSpans?.([own]);
    const child = { ...SPAN, parentSpanId: SPAN.spanId, spanId: '1111111111111111' };
    sink.spans([child, SPAN]);
    sink.spans([SPAN]);
    end();
    const { status, stdout, stderr, sink: kept } = await outcome;
    assert.deepEqual([status, stdout], [0, '']);
    assert.equal(stderr, 'trace: attached to 1 function in pid 42 (shop)…\n');
    assert.deepEqual(kept.own, [own]);
    assert.deepEqual(kept.trees, [[child, SPAN], [SPAN]]);
    // Exporters group by it.
    assert.equal(kept.trees[0]?.[0]?.resource, kept.trees[1]?.[0]?.resource);
    assert.deepEqual(kept.notices, engine.notices);
    assert.deepEqual(kept.summary?.lost, { tooShort: 1, output: 2 });
    assert.deepEqual(kept.summary?.by, { key: 'span.name', values: [] });
    assert.ok(kept.flushed);
  });
});

test('--agent does not take the pattern behind it; paths are made absolute', async () => {
  await withControl({}, async ({ socket, engine }) => {
    const outcome = trace(
      ...['attach', `--agent=${relative('.', socket).replace(/^(?!\.)/, './')}`],
      ...['--exe', 'shop', '--min-duration', '1ms', '-d', '20ms', '--wait=1ms', 'main.*'],
    );
    // The fake of the engine has no process to wait for.
    const { status, stderr } = await outcome;
    assert.equal(status, 4, stderr);
    const bare = await trace('attach', '--agent', 'main.*', '--pid', '42', '--dry-run');
    assert.match(bare.stderr, /plans nothing that it does not trace/);
    const other = trace('attach', `--agent=${socket}`, '--exe', 'shop', '-d', '20ms', 'main.*');
    const { options } = await engine.trace();
    assert.deepEqual(options.selection.exes, [join(process.cwd(), 'shop')]);
    assert.equal((await other).status, 0);
  });
});

test('-d is for the agent to keep, --max-spans for us', async () => {
  await withControl({}, async ({ socket, engine }) => {
    const attach = ['attach', `--agent=${socket}`, '--pid', '42', 'main.*'];
    assert.equal((await trace(...attach, '-d', '20ms')).status, 0);
    const outcome = trace(...attach, '--max-spans', '1');
    const { sink, stopped } = await engine.trace(1);
    sink.spans([SPAN]);
    sink.spans([{ ...SPAN, traceId: 'f'.repeat(32) }]);
    await stopped;
    const { status, sink: kept } = await outcome;
    assert.equal(status, 0);
    assert.deepEqual(kept.trees, [[SPAN]]);
    assert.deepEqual(kept.summary?.lost, { tooShort: 1, limit: 1, output: 2 });
    assert.deepEqual(kept.notices, [], 'that it was stopped is no news');
  });
});

test('errors of the agent have the exit status that they have here', async () => {
  await withControl({ maxSessions: 1 }, async ({ socket, engine }) => {
    const attach = (): Promise<Outcome> =>
      trace('attach', `--agent=${socket}`, '--pid', '42', 'main.*');
    for (const [kind, status] of [
      ['usage', 2],
      ['not-permitted', 3],
      ['unsupported', 3],
      ['not-found', 4],
      ['failed', 1],
    ] as const) {
      engine.failure = new UnderspanError(kind, 'X', 'it is so', 'do this');
      const outcome = await attach();
      assert.equal(outcome.status, status);
      assert.equal(outcome.stderr, 'trace: it is so\n  do this\n');
    }
    engine.failure = null;
    engine.stopFailure = new UnderspanError('failed', 'X', 'it broke');
    const outcome = attach();
    (await engine.trace()).end();
    assert.equal((await outcome).stderr.split('\n')[1], 'trace: it broke');
  });
});

test('what an agent cannot do is told before it is asked', async () => {
  for (const [argv, message] of [
    [['--pid', '1', '--wait', 'main.*'], /does not wait for ever/],
    [['--pid', '1'], /no function is chosen/],
    [['main.*', '--', 'true'], /starts no programs/],
    [['main.*'], /no process is chosen/],
    [['--pid', '1', '--agent=http://x', 'main.*'], /no address of an agent/],
    [['--pid', '1', '--agent=https://x/path', 'main.*'], /no address of an agent/],
    [['--pid', '1', '--agent-ca', 'x', 'main.*'], /over the network/],
    [['--pid', '1', '--agent=https://x', '--agent-key', 'x', 'main.*'], /belong together/],
    [
      ['--pid', '1', '--agent=https://x', '--agent-token-file', '/nowhere', 'main.*'],
      /\/nowhere cannot be read/,
    ],
  ] as const) {
    const { status, stderr } = await trace('attach', '--agent', ...argv);
    assert.equal(status, argv.includes('--' as never) ? 125 : 2, stderr);
    assert.match(stderr, message);
  }
});

test('sessions are listed and stopped', async () => {
  await withControl({}, async ({ socket, engine }) => {
    const sessions = (...argv: string[]): Promise<Outcome> =>
      trace('sessions', `--agent=${socket}`, ...argv);
    assert.deepEqual(
      [(await sessions()).stdout, (await sessions()).stderr],
      ['', 'trace: no session runs\n'],
    );
    const lines = await Lines.open(socket, { ...WISHES, symbols: ['main.\u001b[2J*'] });
    const { id } = await lines.next();
    await engine.trace();
    const { stdout } = await sessions('list');
    assert.match(stdout, /^ID +UNTIL +SPANS +WHO +WHAT\n/);
    assert.match(stdout, / main\.\\u001b\[2J\* in pid 42\n$/);
    const listed = JSON.parse((await sessions('-o', 'json')).stdout) as Record<string, unknown>;
    assert.deepEqual([listed['type'], listed['id']], ['session', id]);
    assert.equal((await sessions('stop')).status, 2);
    assert.equal((await sessions('stop', 'x')).status, 4);
    const rest = lines.rest();
    assert.equal((await sessions('stop', String(id))).status, 0);
    assert.equal((await rest).at(-1)?.type, 'summary');
    assert.deepEqual((await ask(socket, 'GET', '/v1/sessions')).body, { sessions: [] });
  });
});

/** Something that listens, and is no agent. */
async function withStranger(
  listener: RequestListener,
  run: (socket: string) => Promise<void>,
): Promise<void> {
  await inFolder(async (folder) => {
    const socket = join(folder, 'agent.sock');
    const server = createServer(listener).listen(socket);
    await once(server, 'listening');
    try {
      await run(socket);
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });
}

const STARTED = `${JSON.stringify({ type: 'started', id: 'x', modules: [] })}\n`;

test('an answer that is cut or strange is a failure, and what came before it is kept', async () => {
  const cases: [string, RegExp, boolean][] = [
    ['', /connection to the agent broke/, false],
    ['no JSON\n', /cannot be understood: a line is broken/, false],
    ['null\n', /cannot be understood: a line is broken/, false],
    [`${STARTED}{"type":"span"}\n`, /cannot be understood: a line is broken/, false],
    [
      `${STARTED}${JSON.stringify({ ...SPAN, type: 'span', startTimeUnixNano: '1', endTimeUnixNano: '2', resource: {} })}\n{"ty`,
      /connection to the agent broke/,
      true,
    ],
  ];
  for (const [body, message, kept] of cases) {
    await withStranger(
      (request, response) => void request.resume().on('end', () => response.end(body)),
      async (socket) => {
        const { status, stderr, sink } = await trace(
          ...['attach', `--agent=${socket}`, '--pid', '42', 'main.*'],
        );
        assert.equal(status, 1);
        assert.match(stderr, message);
        assert.deepEqual([sink.trees.length > 0, sink.flushed, sink.summary], [kept, true, null]);
      },
    );
  }
});

test('an error that no agent would give is one', async () => {
  await withStranger(
    (_request, response) => void response.writeHead(502).end('<html>'),
    async (socket) => {
      const { status, stderr } = await trace('sessions', `--agent=${socket}`);
      assert.equal(status, 1);
      assert.match(stderr, /cannot be understood: status 502/);
    },
  );
  for (const body of ['7', 'null', '<html>']) {
    await withStranger(
      (_request, response) => void response.end(body),
      async (socket) => {
        const { status, stderr } = await trace('sessions', `--agent=${socket}`);
        assert.equal(status, 1);
        assert.match(stderr, /cannot be understood/);
      },
    );
  }
});
