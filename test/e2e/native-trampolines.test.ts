/** Functions whose returns only a replaced return address tells, and that it does no harm. */
import assert from 'node:assert/strict';
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { dirname, join } from 'node:path';
import { after, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { loadNative } from '../../src/native/load.js';
import { featuresOf } from '../../src/engine.js';
import { projectRoot } from '../tools/go.js';
import { sleep } from '../tools/process.js';
import { requireBpf, type Skippable } from '../tools/require.js';
import { totalLost, Tracer } from '../tools/tracer.js';

const SOURCE = join(projectRoot, 'test/targets/native/trampolines.c');
const execute = promisify(execFile);

const built = new Map<string, Promise<string>>();
async function build(...flags: string[]): Promise<string> {
  const key = flags.join(' ');
  let program = built.get(key);
  if (!program) {
    program = (async () => {
      const folder = await mkdtemp(join(tmpdir(), 'underspan-trampolines-'));
      const file = join(folder, 'program');
      await execute('gcc', ['-O2', '-pthread', ...flags, '-o', file, SOURCE]);
      return file;
    })();
    built.set(key, program);
  }
  return program;
}
after(async () => {
  const files = await Promise.all(built.values());
  await Promise.all(files.map((file) => rm(dirname(file), { recursive: true })));
});

/** The program, which waits for a line before each of its parts. */
class Program {
  output = '';
  private readonly exit: Promise<unknown>;
  private released = 0;

  constructor(readonly child: ChildProcess) {
    child.stdout?.setEncoding('utf8').on('data', (text: string) => (this.output += text));
    this.exit = once(child, 'close');
  }

  static async start(file: string, part: string): Promise<Program> {
    const child = spawn(file, [part], { stdio: ['pipe', 'pipe', 'inherit'] });
    const program = new Program(child);
    await program.waits();
    return program;
  }

  get pid(): string {
    return String(this.child.pid);
  }

  /** Until it waits for the next line. */
  async waits(): Promise<void> {
    for (const deadline = Date.now() + 20_000; ;) {
      if (this.output.split('ready\n').length > this.released + 1) return;
      if (Date.now() > deadline || this.child.exitCode !== null) throw new Error(this.output);
      await sleep(10);
    }
  }

  goOn(): void {
    this.released++;
    this.child.stdin?.write('\n');
  }

  /** What it has printed, and how it ended. */
  async ended(): Promise<string> {
    await this.exit;
    return `${this.output}${this.child.signalCode ?? this.child.exitCode}`;
  }
}

/** What the program does without us. */
async function untraced(file: string, part: string): Promise<string> {
  const { stdout } = await execute('bash', [
    '-c',
    `(yes "" 2>&- | "${file}" ${part}; echo -n "\${PIPESTATUS[1]}")`,
  ]);
  return stdout;
}

const PATTERNS = ['dispatch', 'twice'];

/** Runs a part with a tracer attached before it; compares it with how it is without. */
async function run(
  part: string,
  { file, args = [] }: { file?: string; args?: string[] } = {},
): Promise<Tracer> {
  const program = file ?? (await build());
  const expected = await untraced(program, part);
  const running = await Program.start(program, part);
  const tracer = await Tracer.attach([...args, '--pid', running.pid, ...PATTERNS]);
  running.goOn();
  if (part === 'wait') {
    await running.waits();
    running.goOn();
  }
  assert.equal(await running.ended(), expected);
  await tracer.stop();
  return tracer;
}

/** Each call is a span or one of `lost`, and no other is. */
function assertCalls(
  { result, spans }: Tracer,
  expected: Record<string, number>,
  lost: Record<string, number> = {},
): void {
  const calls = Object.fromEntries(result.functions.map(({ name, calls }) => [name, calls]));
  assert.deepEqual(calls, expected);
  const losses = Object.entries(result.lost).filter(([, count]) => count !== 0);
  assert.deepEqual(Object.fromEntries(losses), lost);
  const all = Object.values(expected).reduce((sum, count) => sum + count, 0);
  assert.equal(spans.length + totalLost(result), all);
}

async function requireSessions(t: Skippable): Promise<boolean> {
  if (!requireBpf(t)) return false;
  if ((await featuresOf(loadNative())).uprobeSession) return true;
  t.skip('this kernel has no uprobe.session');
  return false;
}

describe('return trampolines', () => {
  test('a call ends where it jumps to another traced function, or returns', async (t) => {
    if (!(await requireSessions(t))) return;
    const tracer = await run('jumps');
    assertCalls(tracer, { dispatch: 1000, twice: 500 });
    const { spans } = tracer;
    assert.ok(spans.every(({ status }) => status.code === 'unset'));
    // What was jumped to is not called by it.
    assert.ok(spans.every(({ parentSpanId }) => parentSpanId === null));
    assert.ok(spans.every(({ attributes }) => attributes['underspan.incomplete'] === undefined));
  });

  test('coroutines of swapcontext are left alone', async (t) => {
    if (!(await requireSessions(t))) return;
    const tracer = await run('coroutines');
    assertCalls(tracer, { dispatch: 1802, twice: 2 }, { entryOnly: 1800 });
  });

  test('deep recursion: what is too deep is counted', async (t) => {
    if (!(await requireSessions(t))) return;
    const tracer = await run('deep');
    assertCalls(tracer, { dispatch: 100, twice: 0 }, { tooDeep: 84 });
    assert.ok(tracer.spans.every(({ status }) => status.code === 'unset'));
  });

  test('a chain of jumps: what the kernel takes no more of is counted', async (t) => {
    if (!(await requireSessions(t))) return;
    const tracer = await run('chain');
    assertCalls(tracer, { dispatch: 100, twice: 0 }, { tooDeep: 36 });
    assert.ok(tracer.spans.every(({ status }) => status.code === 'unset'));
  });

  test('longjmp out of calls ends them', async (t) => {
    if (!(await requireSessions(t))) return;
    const tracer = await run('longjmp');
    assertCalls(tracer, { dispatch: 401, twice: 201 });
    assert.equal(tracer.spans.filter(({ status }) => status.code === 'error').length, 200);
  });

  test('a child that is forked within a call returns, and is traced too', async (t) => {
    if (!(await requireSessions(t))) return;
    const tracer = await run('fork');
    assertCalls(tracer, { dispatch: 3, twice: 1 });
  });

  test('vfork within a call', async (t) => {
    if (!(await requireSessions(t))) return;
    assertCalls(await run('vfork'), { dispatch: 1, twice: 0 });
  });

  test('signal handlers: on a stack of their own calls are only counted', async (t) => {
    if (!(await requireSessions(t))) return;
    assertCalls(await run('signals'), { dispatch: 100, twice: 100 }, { entryOnly: 50 });
  });

  test('a function that nobody has called is left alone', async (t) => {
    if (!(await requireSessions(t))) return;
    const args = ['--return-trampoline', '--symbol', 'restorer'];
    const tracer = await run('restorer', { args });
    assertCalls(tracer, { dispatch: 20, restorer: 20, twice: 20 }, { entryOnly: 20 });
  });

  test('threads', async (t) => {
    if (!(await requireSessions(t))) return;
    const tracer = await run('threads');
    const { entryOnly = 0 } = tracer.result.lost;
    assertCalls(tracer, { dispatch: 4010, twice: 2000 }, entryOnly ? { entryOnly } : {});
    // Those while another thread changes the mappings, so that the stack cannot be told.
    assert.ok(entryOnly < 20, `${entryOnly} calls were not seen to return`);
  });

  test('a thread on a stack in the heap', async (t) => {
    if (!(await requireSessions(t))) return;
    assertCalls(await run('heap-thread'), { dispatch: 1, twice: 1 });
  });

  test('a program that executes another within a call', async (t) => {
    if (!(await requireSessions(t))) return;
    const tracer = await run('exec');
    const { calls } = tracer.result.functions.find(({ name }) => name === 'dispatch') ?? {};
    assert.equal(calls, 1001);
    assert.equal(tracer.spans.length + totalLost(tracer.result), 1501);
    assert.equal(tracer.result.lost['unpaired'], 1);
  });

  test('a program that may end threads within a call is only counted', async (t) => {
    if (!(await requireSessions(t))) return;
    const file = await build('-DENDS_THREADS');
    const tracer = await run('thread-exits', { file });
    assertCalls(tracer, { dispatch: 20, twice: 0 }, { entryOnly: 20 });
  });

  test('an unwinder that is loaded later: from then on calls are only counted', async (t) => {
    if (!(await requireSessions(t))) return;
    const file = await build();
    const running = await Program.start(file, 'plugin');
    const tracer = await Tracer.attach(['--pid', running.pid, ...PATTERNS]);
    running.goOn();
    await running.waits();
    running.goOn();
    assert.match(await running.ended(), /dispatch 900 twice 450\n0$/);
    await tracer.stop();
    assertCalls(tracer, { dispatch: 900, twice: 450 }, { entryOnly: 600 });
  });

  test('static programs', async (t) => {
    if (!(await requireSessions(t))) return;
    // The unwinder of glibc is in there, so only counted; by explicit option they are seen.
    const file = await build('-static');
    assertCalls(await run('jumps', { file }), { dispatch: 1000, twice: 500 }, { entryOnly: 1000 });
    const asked = await run('jumps', { file, args: ['--return-trampoline'] });
    assertCalls(asked, { dispatch: 1000, twice: 500 });
  });

  for (const signal of ['SIGKILL', 'SIGINT'] as const) {
    test(`${signal} of the tracer within a call`, async (t) => {
      if (!(await requireSessions(t))) return;
      const file = await build();
      const running = await Program.start(file, 'wait');
      const tracer = await Tracer.attach(['--pid', running.pid, ...PATTERNS]);
      running.goOn();
      await running.waits();
      tracer.child.kill(signal);
      await tracer.ended();
      running.goOn();
      assert.equal(await running.ended(), await untraced(file, 'wait'));
      if (signal === 'SIGINT') {
        assertCalls(tracer, { dispatch: 1, twice: 0 }, { open: 1 });
      }
    });
  }

  test('tracers that come and go while it runs', async (t) => {
    if (!(await requireSessions(t))) return;
    const running = await Program.start(await build(), 'loops');
    running.goOn();
    await running.waits();
    running.goOn();
    for (let round = 0; round < 3; round++) {
      const tracer = await Tracer.attach(['--pid', running.pid, ...PATTERNS]);
      await sleep(300);
      await tracer.stop();
      const { functions } = tracer.result;
      const calls = functions.reduce((sum, each) => sum + each.calls, 0);
      assert.ok(calls > 100, String(calls));
      assert.equal(tracer.spans.length + totalLost(tracer.result), calls);
      assert.equal(tracer.result.lost['entryOnly'] ?? 0, 0);
      assert.ok(tracer.spans.every(({ status }) => status.code === 'unset'));
    }
    running.child.kill();
    assert.match(await running.ended(), /loops\ndispatch \d+ twice \d+\n0$/);
  });

  test('--return-trampoline: all functions of a program, from its first instruction', async (t) => {
    if (!(await requireSessions(t))) return;
    const file = await build();
    for (const part of ['jumps', 'longjmp', 'fork', 'coroutines']) {
      const output = join(dirname(file), part);
      const { stdout: expected } = await execute(file, [part, '-']);
      const tracer = Tracer.start(['--return-trampoline', '*', '_start', '--', file, part, output]);
      assert.equal(await tracer.ended(), 0, `${part}: ${tracer.stderr}`);
      assert.equal(await readFile(output, 'utf8'), expected, part);
      // The program's first function has no return address.
      const { functions, lost } = tracer.result;
      assert.equal(functions.find(({ name }) => name === '_start')?.spans, 0);
      assert.ok((lost['entryOnly'] ?? 0) >= 1);
      assert.equal(functions.find(({ name }) => name === 'main')?.spans, 1);
    }
  });
});
