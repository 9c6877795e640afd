import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync, mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { after, test } from 'node:test';
import type { Context } from '../../cli/context.js';
import { renderPlan, renderPlanJson } from '../../cli/plan.js';
import { run } from '../../cli/run.js';
import type { Plan, Trace, TraceOptions } from '../../src/engine.js';
import { UnderspanError, type ErrorKind } from '../../src/errors.js';
import type { FunctionTable, Inlined, Module, Native } from '../../src/native/native.js';
import { ASSUMED_COSTS } from '../../src/plan/host-costs.js';
import type { Sink, Summary } from '../../src/sinks/sink.js';
import type { FunctionSpan } from '../../src/spans/span.js';
import { Procfs } from '../../src/targets/procfs.js';

const directory = mkdtempSync(join(tmpdir(), 'underspan-cli-'));
const home = process.cwd();
process.chdir(directory);
after(() => {
  process.chdir(home);
  rmSync(directory, { recursive: true });
});

const shop = join(directory, 'shop');
writeFileSync(shop, '\x7fELF');
const procfs = new Procfs(join(directory, 'proc'));
mkdirSync(join(directory, 'proc/42'), { recursive: true });
const file = (name: string, text: string): void =>
  writeFileSync(join(directory, 'proc/42', name), text);
file('stat', `42 (shop) S 1 1 1 0 -1 4194304 ${'0 '.repeat(12)}1042 0\n`);
file('status', 'Tgid:\t42\n');
file('cmdline', './shop\0');
file('environ', '');
file('cgroup', '0::/\n');
symlinkSync(shop, join(directory, 'proc/42/exe'));
writeFileSync(
  join(directory, 'proc/kallsyms'),
  'ffffffff812a0000 T vfs_write\nffffffff812a0110 T vfs_read\n',
);

const emptySummary: Summary = {
  functions: [],
  lost: {},
  contexts: { unreadable: 0, truncated: 0 },
  valuesLost: 0,
  waitsLost: 0,
  allocations: null,
  suspensions: 0,
  overhead: { predicted: null, measured: null },
};

interface Outcome {
  status: number;
  stdout: string;
  stderr: string;
  options: TraceOptions | undefined;
}

interface World {
  trace?: (options: TraceOptions) => Promise<Trace>;
  module?: Partial<Module>;
  addon?: false;
}

const plan: Plan = {
  targets: [
    {
      pid: 42,
      startTime: 1042,
      comm: 'shop',
      exe: shop,
      file: shop,
      fileId: '1:1',
      argv: ['./shop'],
    },
  ],
  modules: [
    {
      path: shop,
      fileId: '1:1',
      role: { kind: 'main' },
      pids: [42],
      plan: {
        kind: 'go',
        module: {
          disassemble: async () => ['push %rbp', 'ret'],
        } as Partial<Module> as Module,
        layout: {
          version: 'go1.26',
          goidOffset: 0,
          labelsOffset: 0,
          labelsAreMap: false,
          waitKinds: [],
          currentOffset: 0,
          threadOffset: 0,
          requestContextOffset: 0,
          valueItab: 0,
          keyType: 0,
          contextInterface: 0,
          spanTypes: [],
          contextTypes: [],
          errorTexts: [],
          resource: null,
        },
        functions: [
          {
            name: 'main.(*Order).Confirm',
            address: 0x1000,
            size: 64,
            entry: { address: 0x1004, condition: 0, emulated: true },
            returns: [{ address: 0x1030, condition: 0, emulated: false, plainReturn: true }],
            single: false,
            entryOnly: null,
            trampoline: false,
            context: { place: 0, at: 0 },
            file: null,
            line: null,
            values: { arguments: [], results: [], error: null, stackTrace: false },
            route: null,
          },
        ],
        refused: [{ name: 'main.spin', reason: 'a branch leads back to its first instruction' }],
        support: [],
        claimed: new Set(),
        notices: [],
      },
    },
  ],
  costs: {
    ...ASSUMED_COSTS,
    emulatedNs: 800,
    singleSteppedNs: 9_000,
    enterNs: 20,
    leaveNs: 10,
    spanNs: 7,
    source: 'cached',
  },
  notices: [{ code: 'N', message: 'something to know', hint: 'and to do' }],
};

const ended = (command: Trace['command'] = null): Trace => ({
  plan,
  ended: Promise.resolve(),
  command,
  stop: async () => emptySummary,
});

async function trace(argv: string[], world: World = {}): Promise<Outcome> {
  const text = { stdout: '', stderr: '' };
  const stream = (name: 'stdout' | 'stderr'): NodeJS.WriteStream =>
    new Writable({
      write(chunk: Buffer, _encoding, done) {
        text[name] += chunk.toString();
        done();
      },
    }) as NodeJS.WriteStream;
  let options: TraceOptions | undefined;
  const context: Context = {
    native: () => {
      if (world.addon === false)
        throw new UnderspanError('unsupported', 'ADDON_MISSING', 'no addon');
      return {
        openModule: async () => world.module,
        features: async () => ({ kprobeMulti: true }),
      } as unknown as Native;
    },
    startTrace: async (_native, given) => {
      options = given;
      return (world.trace ?? (async () => ended()))(given);
    },
    planTrace: async (_native, given) => {
      options = given;
      return plan;
    },
    openSinks: (_values, _onClosed, onNotice) => [
      { spans: () => undefined, notice: onNotice, close: async () => undefined },
    ],
    procfs,
    stdout: stream('stdout'),
    stderr: stream('stderr'),
  };
  const status = await run(argv, context);
  return { status, ...text, options };
}

test('all options reach the engine', async () => {
  const { status, options, stderr } = await trace([
    ...'attach --pid 42 --symbol main.* main.a --exclude *.b --min-duration 1ms'.split(' '),
    ...'--slower-than=500ms --errors-only --sample 5% --max-rate 100 --no-roots'.split(' '),
    ...'--unsampled --no-follow-forks --entry-only --max-overhead 20% --max-functions 9 --transport perf --ring-size 1M --return-trampoline'.split(
      ' ',
    ),
    ...'--comm shop --wait=30s main.c -o none --by span.attr.tenant.id'.split(' '),
  ]);
  assert.equal(status, 0, stderr);
  assert.deepEqual(options, {
    selection: {
      pids: [42],
      exes: [],
      comms: ['shop'],
      containers: [],
      services: [],
      command: null,
      waitMs: 30_000,
    },
    symbols: ['main.*', 'main.a', 'main.c'],
    exclude: ['*.b'],
    minDurationNs: 1e6,
    slowerThanNs: 5e8,
    errorsOnly: true,
    span: null,
    where: [],
    by: 'span.attr.tenant.id',
    fold: 20,
    sample: 0.05,
    maxRate: 100,
    followForks: false,
    handlers: [],
    entryOnly: true,
    contextHops: 32,
    emulateReturns: true,
    returnTrampoline: true,
    args: [],
    returns: false,
    stack: false,
    waits: false,
    gc: false,
    allocations: false,
    errorText: true,
    errors: null,
    redact: [],
    roots: false,
    unsampled: true,
    maxOverhead: 0.2,
    maxFunctions: 9,
    transport: 'perf',
    ringBytes: 1 << 20,
    sinks: options?.sinks,
  });
  assert.match(stderr, /^trace: attached to 1 function in pid 42 \(shop\)…$/m);
  assert.match(stderr, /^trace: something to know\n {2}and to do$/m);
});

test('defaults are those of the documentation', async () => {
  const { options } = await trace(['attach', '--pid', '42', 'main.*']);
  assert.deepEqual(
    [
      options?.roots,
      options?.followForks,
      options?.sample,
      options?.maxRate,
      options?.maxFunctions,
    ],
    [true, true, 1, 0, null],
  );
  assert.equal(options?.selection.waitMs, 0);
});

test('--wait does not take the pattern behind it', async () => {
  const { options } = await trace(['attach', '--pid', '42', '--wait', 'main.*']);
  assert.deepEqual([options?.symbols, options?.selection.waitMs], [['main.*'], Infinity]);
});

test('a command keeps its own options, and gives the exit status', async () => {
  const exit = (end: { code: number | null; signal: NodeJS.Signals | null }): World => ({
    trace: async () => ended(Promise.resolve(end)),
  });
  const line = ['attach', 'main.*', '--', './shop', '--pid', '7', '--', '-o'];
  const seven = await trace(line, exit({ code: 7, signal: null }));
  assert.deepEqual(seven.options?.selection.command, ['./shop', '--pid', '7', '--', '-o']);
  assert.equal(seven.status, 7);
  assert.equal((await trace(line, exit({ code: null, signal: 'SIGKILL' }))).status, 137);
});

test('each kind of failure has its exit status; with a command it is 125', async () => {
  const expected: Record<ErrorKind, number> = {
    failed: 1,
    usage: 2,
    'not-permitted': 3,
    unsupported: 3,
    'not-found': 4,
  };
  for (const [kind, status] of Object.entries(expected)) {
    const world: World = {
      trace: async () => {
        throw new UnderspanError(kind as ErrorKind, 'CODE', 'what is wrong', 'what to do');
      },
    };
    const own = await trace(['attach', '--pid', '42', 'main.*'], world);
    assert.equal(own.status, status, kind);
    assert.equal(own.stderr, 'trace: what is wrong\n  what to do\n');
    assert.equal(own.stdout, '');
    assert.equal((await trace(['attach', 'main.*', '--', 'true'], world)).status, 125, kind);
  }
});

test('a stack is shown only if asked for', async () => {
  const world: World = {
    trace: async () => {
      throw new UnderspanError('failed', 'CODE', 'what is wrong', undefined, {
        cause: Object.assign(new Error('inner'), { log: "the kernel's words" }),
      });
    },
  };
  const line = ['attach', '--pid', '42', 'main.*'];
  assert.equal((await trace(line, world)).stderr, 'trace: what is wrong\n');
  const { stderr } = await trace([...line, '--verbose'], world);
  assert.match(stderr, /at .*cli\.test/);
  assert.match(stderr, /the kernel's words/);
});

test('wrong usage is told in one line, with status 2', async () => {
  const cases: [string[], RegExp][] = [
    [['attach', 'main.*'], /no process is chosen\n {2}choose by --pid/],
    [['attach', '--pid', 'shop', 'main.*'], /'-p, --pid <n>'.*'shop' is invalid.*pidof/],
    [['attach', '--pid', '42', '--sample', '7', 'f'], /'--sample <share>'.*from 0 to 1/],
    [['attach', '--pid', '42', '-d', '5', 'f'], /'-d, --duration <duration>'.*with its unit/],
    [['attach', '--pid', '42', '-o', 'xml', 'f'], /Allowed choices are tree, json, none/],
    [['attach', '--pid', '42', '--slower', '1s', 'f'], /unknown option '--slower'/],
    [['attach', '--pid', '42', '--stacks', 'f'], /unknown option '--stacks'/],
    [['attach', '--pid'], /argument missing/],
    [['wy'], /unknown command 'wy'/],
    [['agent'], /'--config <file>' not specified/],
    [['attach', '--pid', '42', 'a.go', 'b.go'], /'a\.go', 'b\.go' are names of files.*\n.*quotes/],
    [['symbols', '--pid', '42', 'a.go', 'b.go'], /names of files/],
    [['symbols', '--pid', '42', '/a(/'], /not a regular expression/],
  ];
  writeFileSync('a.go', '');
  writeFileSync('b.go', '');
  for (const [line, message] of cases) {
    const { status, stderr, stdout } = await trace(line);
    assert.equal(status, 2, `${line.join(' ')}: ${stderr}`);
    assert.match(stderr, message);
    assert.match(stderr, /^trace: [^\n]*\n(?: {2}[^\n]*\n)?$/);
    assert.equal(stdout, '');
  }
});

test('with a command wrong usage is our own failure', async () => {
  for (const line of [
    ['attach', 'main.*', '--'],
    ['attach', '--pid', '42', 'main.*', '--', 'true'],
    ['attach', '--wait', 'main.*', '--', 'true'],
    ['doctor', '--', 'true'],
    ['attach', '--nonsense', '--', 'true'],
  ]) {
    const { status, stderr } = await trace(line);
    assert.equal(status, 125, line.join(' '));
    assert.match(stderr, /^trace: /);
  }
});

test('without a pattern an example is shown', async () => {
  const module: Partial<Module> = {
    facts: {
      go: { version: 'go1.26', mainModule: 'example.com/shop', modules: {} },
    } as Module['facts'],
    functions: async () => ({ names: 'main.main\nexample.com/shop/cart.Add' }) as FunctionTable,
    close: () => undefined,
  };
  const own = await trace(['attach', '--pid', '42'], { module });
  assert.equal(own.status, 2);
  assert.match(
    own.stderr,
    /trace attach --pid 42 --symbol 'main\.\*' --symbol 'example\.com\/shop\/\*'/,
  );
  const foreign = await trace(['attach', '--', 'true'], { module: {} });
  assert.equal(foreign.status, 125);
  assert.match(foreign.stderr, /trace attach --symbol 'main\.\*' -- true/);
});

test('without a process there is status 4', async () => {
  const missing = await trace(['attach', '--pid', '43']);
  assert.deepEqual([missing.status, missing.options], [4, undefined]);
  const nothing = await trace(['symbols', '--comm', 'till']);
  assert.equal(nothing.status, 4);
  assert.match(nothing.stderr, /no process fits comm till\n {2}--wait/);
  const waited = await trace(['attach', '--comm', 'till', '--wait=150ms', 'main.*']);
  assert.equal(waited.status, 4);
  assert.match(waited.stderr, /waiting for comm till…\n.*none came/);
});

test('without the addon there is status 3', async () => {
  const { status, stderr } = await trace(['attach', '--pid', '42', 'main.*'], { addon: false });
  assert.deepEqual([status, stderr], [3, 'trace: no addon\n']);
});

test('--dry-run prints the plan and attaches nothing', async () => {
  let attached = false;
  const world: World = {
    trace: async () => {
      attached = true;
      return ended();
    },
  };
  const line = ['attach', '--pid', '42', '--dry-run', 'main.*'];
  const shown = await trace(line, world);
  assert.equal(shown.status, 0, shown.stderr);
  assert.match(shown.stdout, /1 function\(s\), 2 probes/);
  assert.match(shown.stdout, /^ +9,830 +9,837 {2}main\.\(\*Order\)\.Confirm$/m);
  assert.match(shown.stdout, /entry +0x1004 {2}push %rbp: emulated, 800 ns$/m);
  assert.match(shown.stdout, /return +0x1030 {2}ret: single-stepped, 9,000 ns \(no program may/);
  assert.match(shown.stdout, /4 KiB of text become private/);
  assert.match(shown.stdout, /main\.spin {2}\(not traced: a branch/);
  const json = JSON.parse((await trace([...line, '-o', 'json'], world)).stdout) as object;
  assert.deepEqual(json, {
    type: 'plan',
    executable: shop,
    pids: [42],
    functions: [
      {
        name: 'main.(*Order).Confirm',
        address: '0x1000',
        entry: {
          address: '0x1004',
          instruction: 'push %rbp',
          way: 'emulated',
          nano: 800,
          whyDear: null,
        },
        returns: [
          {
            address: '0x1030',
            instruction: 'ret',
            way: 'single-stepped',
            nano: 9_000,
            whyDear: 'no program may carry out a ret here',
          },
        ],
        trampolineNano: null,
        entryOnly: null,
        callNano: 9_830,
        spanNano: 9_837,
      },
    ],
    support: [],
    refused: [{ name: 'main.spin', reason: 'a branch leads back to its first instruction' }],
    sites: 2,
    privateBytes: 4096,
    costs: { source: 'cached', scalesWithCpus: true },
  });
  assert.ok(!attached);
});

test('a plan of the kernel costs the host, and no memory of a process', async () => {
  const [first] = plan.modules;
  const site = { address: -0x7ed6_0000, condition: 0, emulated: true, inKernel: true };
  const fn = { ...first!.plan.functions[0]!, name: 'kernel:vfs_write', address: site.address };
  const functions = [{ ...fn, entry: site, returns: [site] }];
  const kernel = { ...first!.plan, kind: 'kernel' as const, functions, refused: [] };
  const both: Plan = {
    ...plan,
    modules: [{ ...first!, path: 'the kernel', role: { kind: 'kernel' }, plan: kernel }],
  };
  const text = await renderPlan(both);
  assert.match(text, /^the kernel \(pid 42\): 1 function\(s\), 2 probes/);
  assert.match(text, /every process of the host/);
  assert.doesNotMatch(text, /KiB/);
  assert.match(text, /^ +\d[\d,]* +\d[\d,]* {2}kernel:vfs_write\n +entry +kernel probe, 300 ns$/m);
  const json = await renderPlanJson(both);
  assert.match(json, /"address":"0xffffffff812a0000"/);
  assert.match(json, /"privateBytes":0/);
});

const never = new Promise<void>(() => undefined);

test('--duration stops by itself', async () => {
  let stopped = false;
  const { status } = await trace(['attach', '--pid', '42', '-d', '20ms', 'main.*'], {
    trace: async () => ({
      ...ended(),
      ended: never,
      stop: async () => {
        stopped = true;
        return emptySummary;
      },
    }),
  });
  assert.deepEqual([status, stopped], [0, true]);
});

const span = (traceId: string): FunctionSpan => ({ traceId }) as FunctionSpan;

test('--max-spans stops by itself, with whole traces', async () => {
  let sink: Sink | undefined;
  const { status } = await trace(['attach', '--pid', '42', '--max-spans', '2', 'main.*'], {
    trace: async ({ sinks }) => {
      [sink] = sinks;
      setImmediate(() => sink?.spans(['a', 'b', 'b', 'c', 'a'].map(span)));
      return { ...ended(), ended: never };
    },
  });
  assert.equal(status, 0);
  assert.deepEqual(sink?.lost?.(), { limit: 1 });
  assert.ok(sink?.programSpans === undefined);
});

test('Ctrl-C stops gracefully', async () => {
  let stopped = false;
  const { status } = await trace(['attach', '--pid', '42', 'main.*'], {
    trace: async () => {
      setTimeout(() => process.kill(process.pid, 'SIGINT'), 20);
      return {
        ...ended(),
        ended: never,
        stop: async () => {
          stopped = true;
          return emptySummary;
        },
      };
    },
  });
  assert.deepEqual([status, stopped], [0, true]);
  assert.equal(process.listenerCount('SIGINT'), 0);
});

const listed = (names: string, inlined: Inlined[] = []): Partial<Module> => ({
  facts: { go: null } as Module['facts'],
  functions: async () => {
    const count = names.split('\n').length;
    return {
      names,
      addresses: Float64Array.from({ length: count }, (_, index) => 0x1000 + index * 0x10),
      sizes: Float64Array.from({ length: count }, () => 16),
      signatures: '\n'.repeat(count - 1),
      kinds: new Uint8Array(count),
      parts: {
        functions: new Float64Array(),
        addresses: new Float64Array(),
        sizes: new Float64Array(),
      },
      source: 'symtab',
    };
  },
  instructions: async () => Buffer.alloc(0),
  lines: async () => [],
  inlined: async () => inlined,
  close: () => undefined,
});

test('symbols lists what is there, and why it cannot be traced', async () => {
  const module = listed('alpha\nbeta', [
    { name: 'gamma', into: ['alpha', 'beta'], hasCode: false },
  ]);
  const text = await trace(['symbols', '--pid', '42'], { module });
  assert.equal(text.status, 0, text.stderr);
  assert.match(text.stdout, /\(pid 42\): 0 of 3 functions can be traced/);
  assert.match(text.stdout, /0x1000 +16 +- {2}alpha {2}\(cannot be traced: does not decode to its/);
  assert.match(text.stdout, /- {2}gamma {2}\(cannot be traced: was inlined into alpha, beta\)/);
  const json = await trace(['symbols', '--pid', '42', 'b*', '-o', 'json'], { module });
  assert.deepEqual(JSON.parse(json.stdout), {
    type: 'function',
    executable: shop,
    pids: [42],
    name: 'beta',
    address: '0x1010',
    size: 16,
    file: null,
    line: null,
    sites: 0,
    traceable: false,
    reason: 'does not decode to its end, as where data lie in the code',
  });
});

test('symbols that do not exist have status 4 and near names', async () => {
  const none = await trace(['symbols', '--pid', '42', 'betta'], { module: listed('alpha\nbeta') });
  assert.deepEqual([none.status, none.stdout], [4, '']);
  assert.match(none.stderr, /matches 'betta'\n {2}the nearest names are 'beta'/);
  const some = await trace(['symbols', '--pid', '42', 'betta', 'alpha'], {
    module: listed('alpha\nbeta'),
  });
  assert.equal(some.status, 0);
  assert.match(some.stderr, /betta/);
});

test('symbols of the kernel need no process', async () => {
  const text = await trace(['symbols', 'kernel:vfs_*']);
  assert.equal(text.status, 0, text.stderr);
  assert.match(text.stdout, /^the kernel: 2 of 2 functions can be traced\n/);
  assert.match(text.stdout, /0xffffffff812a0110 +- +2 {2}kernel:vfs_read\n/);
  const both = await trace(['symbols', '--pid', '42', 'alpha', 'kernel:vfs_write', '-o', 'json'], {
    module: listed('alpha\nbeta'),
  });
  const lines = both.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { executable: string; name: string; traceable: boolean });
  assert.deepEqual(
    lines.map(({ executable, name, traceable }) => [executable, name, traceable]),
    [
      [shop, 'alpha', false],
      ['the kernel', 'kernel:vfs_write', true],
    ],
  );
  const none = await trace(['symbols', 'kernel:vfs_wirte']);
  assert.equal(none.status, 4);
  assert.match(none.stderr, /of the kernel matches .*\n.* 'kernel:vfs_write'/);
  assert.equal((await trace(['symbols', 'alpha', 'kernel:vfs_read'])).status, 2);
});

test('help and version are results', async () => {
  const help = await trace(['--help']);
  assert.deepEqual([help.status, help.stderr], [0, '']);
  assert.match(help.stdout, /attach[\s\S]*why[\s\S]*symbols[\s\S]*agent[\s\S]*doctor/);
  const attach = await trace(['attach', '--help']);
  assert.match(attach.stdout, /--max-functions <n>[\s\S]*by\s+default\s+2000/);
  assert.match((await trace(['--version'])).stdout, /^\d+\.\d+\.\d+\n$/);
  const nothing = await trace([]);
  assert.deepEqual([nothing.status, nothing.stdout], [2, '']);
  assert.match(nothing.stderr, /Usage: trace/);
});

test('doctor says what is missing even without the addon', async () => {
  const { status, stdout } = await trace(['doctor', '-o', 'json'], { addon: false });
  assert.equal(status, 3);
  const report = JSON.parse(stdout) as { ready: boolean; findings: { name: string }[] };
  assert.equal(report.ready, false);
  assert.ok(report.findings.some(({ name }) => name === 'addon'));
});
