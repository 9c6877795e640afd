import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { after, test } from 'node:test';
import type { Context } from '../../cli/context.js';
import { run } from '../../cli/run.js';
import type { Plan, TraceOptions } from '../../src/engine.js';
import type { Native } from '../../src/native/native.js';
import { ASSUMED_COSTS } from '../../src/plan/host-costs.js';
import type { FunctionSummary, Summary } from '../../src/sinks/sink.js';
import { Procfs } from '../../src/targets/procfs.js';
import { MadeRequests } from '../tools/made-requests.js';

const directory = mkdtempSync(join(tmpdir(), 'underspan-why-'));
after(() => rmSync(directory, { recursive: true }));
const file = join(directory, 'shop');
writeFileSync(file, '\x7fELF');
const own = join(directory, 'proc/42');
mkdirSync(own, { recursive: true });
writeFileSync(join(own, 'stat'), `42 (shop) S 1 1 1 0 -1 4194304 ${'0 '.repeat(12)}1042 0\n`);
writeFileSync(join(own, 'status'), 'Tgid:\t42\n');
writeFileSync(join(own, 'cmdline'), './shop\0');
writeFileSync(join(own, 'environ'), '');
writeFileSync(join(own, 'cgroup'), '0::/\n');
symlinkSync(file, join(own, 'exe'));

const summary = (functions: Partial<FunctionSummary>[] = []): Summary => ({
  functions: functions as FunctionSummary[],
  lost: { ringFull: 3 },
  contexts: { unreadable: 0, truncated: 0 },
  valuesLost: 0,
  waitsLost: 0,
  allocations: null,
  suspensions: 0,
  overhead: { predicted: 0.01, measured: 0.012 },
});

const plan = {
  targets: [{ pid: 42 }],
  modules: [
    {
      path: file,
      pids: [42],
      role: { kind: 'main' },
      plan: {
        functions: ['main.serve', 'main.tick'].map((name) => ({
          name,
          entry: { emulated: true },
        })),
      },
    },
  ],
  costs: ASSUMED_COSTS,
  notices: [],
} as unknown as Plan;

interface Outcome {
  status: number;
  stdout: string;
  stderr: string;
  traced: TraceOptions[];
}

/** A program in which one call in five is slow, and one function is called all the time. */
async function trace(argv: string[]): Promise<Outcome> {
  const text = { stdout: '', stderr: '' };
  const stream = (name: 'stdout' | 'stderr'): NodeJS.WriteStream =>
    new Writable({
      write(chunk: Buffer, _encoding, done) {
        text[name] += chunk.toString();
        done();
      },
    }) as NodeJS.WriteStream;
  const traced: TraceOptions[] = [];
  const module = {
    facts: { go: { mainModule: 'example.com/shop' } },
    functions: async () => ({ names: 'main.serve\nmain.tick\nruntime.main' }),
    close: () => undefined,
  };
  const context: Context = {
    native: () => ({ openModule: async () => module }) as unknown as Native,
    startTrace: async (_native, options) => {
      traced.push(options);
      return {
        plan,
        ended: Promise.resolve(),
        command: null,
        stop: async () => {
          const made = requests();
          const end = summary([
            { name: 'main.serve', calls: 0 },
            { name: 'main.tick', calls: 1e9 },
          ]);
          for (const sink of options.sinks) {
            sink.spans(made.calls);
            sink.programSpans?.(made.programSpans);
            await sink.close(end);
          }
          return end;
        },
      };
    },
    planTrace: async () => plan,
    openSinks: () => [],
    procfs: new Procfs(join(directory, 'proc')),
    stdout: stream('stdout'),
    stderr: stream('stderr'),
  };
  const status = await run(argv, context);
  return { status, ...text, traced };
}

function requests(): MadeRequests {
  const made = new MadeRequests();
  for (let nth = 0; nth < 100; nth++) {
    const selfMs = nth % 5 === 0 ? 20 : 0.05 + (nth % 7) / 1000;
    const serveMs = 0.2 + (nth % 3) / 10;
    const call = { name: 'main.serve', selfMs: serveMs, beneath: [{ name: 'main.pay', selfMs }] };
    const name = nth < 90 ? 'GET /order' : 'GET /\u001b[31m';
    made.add({ name, atMs: nth * 10, call });
  }
  return made;
}

test('why looks at the program’s own functions, but for those that the budget does not pay for', async () => {
  const { status, stderr, traced } = await trace(['why', '-p', '42']);
  assert.equal(status, 0, stderr);
  const [counting, looking] = traced;
  assert.deepEqual([counting?.symbols, counting?.entryOnly], [['main.*'], true]);
  assert.deepEqual([looking?.symbols, looking?.entryOnly], [['main.*'], false]);
  assert.deepEqual(looking?.exclude, ['main.tick']);
  assert.match(stderr, /left out, to keep within the budget: main\.tick \([\d,]+ calls a second\)/);
});

test('why with any cost counts nothing first', async () => {
  const { traced } = await trace(['why', '-p', '42', 'main.serve', '--max-overhead', '100%']);
  assert.deepEqual(
    traced.map(({ symbols, entryOnly }) => [symbols, entryOnly]),
    [[['main.serve'], false]],
  );
});

test('why takes no request away from the comparison', async () => {
  const { traced, stdout } = await trace(['why', '-p', '42', '--slower-than', '10ms']);
  assert.deepEqual(
    traced.map(({ slowerThanNs, errorsOnly }) => [slowerThanNs, errorsOnly]),
    [
      [null, false],
      [null, false],
    ],
  );
  assert.match(
    stdout,
    /^GET \/order was slow 18 times of 90: 19\.9 ms in main\.pay; 18 of 18 slow/,
  );
});

test('why prints the answer first, then the difference, the path, the evidence and what it cost', async () => {
  const { stdout } = await trace(['why', '-p', '42', '--span', 'GET /or*']);
  const lines = stdout.split('\n');
  assert.match(
    lines[0] ?? '',
    /^GET \/order was slow 18 times of 90: 19\.9 ms in main\.pay; 18 of/,
  );
  assert.match(stdout, /^main\.pay +100 % +20\.0 ms +5\d\.\d µs +1 +1$/m);
  assert.match(stdout, /^ {4}main\.pay +20\.0 ms/m);
  assert.match(stdout, /^evidence: trace [0-9a-f]{32}$/m);
  assert.match(stdout, /^lost: ring full 3$/m);
  assert.match(stdout, /^overhead: predicted 1\.00 % of a CPU, measured 1\.20 % of a CPU$/m);
});

test('why makes names of the program’s harmless', async () => {
  const { stdout } = await trace(['why', '-p', '42']);
  assert.ok(!stdout.includes('\u001b'));
  assert.match(stdout, /^also: GET \/\\u001b\[31m, 10 requests: nothing stands out$/m);
});

test('why -o json says the same to a program', async () => {
  const { stdout } = await trace(['why', '-p', '42', '-o', 'json']);
  const answer = JSON.parse(stdout) as {
    type: string;
    sentence: string;
    verdict: { function: string; agree: number; traceId: string };
    functions: { name: string; slowNano: number }[];
    lost: Record<string, number>;
  };
  assert.equal(answer.type, 'why');
  assert.match(answer.sentence, /^GET \/order was slow/);
  assert.deepEqual([answer.verdict.function, answer.verdict.agree], ['main.pay', 18]);
  assert.deepEqual([answer.functions[0]?.name, answer.functions[0]?.slowNano], ['main.pay', 20e6]);
  assert.deepEqual(answer.lost, { ringFull: 3 });
});

test('why refuses a duration that is none', async () => {
  const { status, stderr } = await trace(['why', '-p', '42', '--slower-than', 'long']);
  assert.equal(status, 2);
  assert.match(stderr, /not a duration/);
});
