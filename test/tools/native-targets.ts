/** Builds and runs the programs of test/targets/native. */
import { execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { projectRoot } from './go.js';
import { type JsonSpan, Tracer } from './tracer.js';

const run = promisify(execFile);

/** Why there is no build by these commands; null: it can be tried. */
export function missingCommand(commands: readonly string[]): string | null {
  const missing = commands.find((command) => spawnSync(command, ['--version']).error);
  return missing === undefined ? null : `${missing} is missing`;
}

/** Compiles test/targets/native/SOURCE into `file`. */
export async function compileNative(
  compiler: string,
  source: string,
  file: string,
  options: readonly string[],
): Promise<string> {
  const path = join(projectRoot, 'test/targets/native', source);
  await run(compiler, ['-pthread', '-o', file, path, ...options]);
  return file;
}

/** What ends.cc counted: by function, its calls and how many of them were unwound. */
export type EndsCounts = Record<string, [calls: number, unwound: number]>;

export const ENDS_FUNCTIONS = [
  ...['leaf', 'thrower', 'middle', 'catcher', 'jumper', 'landing', 'coroutine', 'step'],
  ...['exiter', 'handler', 'child', 'recurse', 'tail'],
];

/** Runs ends.cc under the tracer. */
export async function traceEnds(
  program: string,
  rounds: number,
  args: readonly string[] = [],
): Promise<{ tracer: Tracer; counted: EndsCounts; status: number | null }> {
  const file = `${program}.json`;
  const tracer = Tracer.start([
    ...args,
    ...ENDS_FUNCTIONS.flatMap((name) => ['--symbol', name]),
    ...['--', program, String(rounds), file],
  ]);
  const status = await tracer.ended();
  const counted = JSON.parse(await readFile(file, 'utf8')) as EndsCounts;
  return { tracer, counted, status };
}

/**
 * How many spans of which function hang from a span of which, as "parent > name"; roots hang from
 * "none".
 */
export function edgesOf(spans: readonly JsonSpan[]): Record<string, number> {
  const names = new Map(spans.map(({ spanId, name }) => [spanId, name]));
  const edges: Record<string, number> = {};
  for (const { parentSpanId, name } of spans) {
    const parent = parentSpanId === null ? 'none' : (names.get(parentSpanId) ?? 'nothing sent');
    const edge = `${parent} > ${name}`;
    edges[edge] = (edges[edge] ?? 0) + 1;
  }
  return edges;
}

/** The edges of ends.cc. `tailJumps`: the compiler has made jumps of the calls that are last. */
export function expectedEdges(counted: EndsCounts, tailJumps: boolean): Record<string, number> {
  const calls = (name: string): number => counted[name]?.[0] ?? 0;
  const returned = (name: string): number => calls(name) - (counted[name]?.[1] ?? 0);
  const recursions = calls('recurse') / RECURSE_DEPTH;
  return {
    'thrower > leaf': returned('thrower'),
    'catcher > leaf': calls('catcher'),
    'jumper > leaf': returned('jumper'),
    'landing > leaf': calls('landing'),
    'step > leaf': 2 * calls('step'),
    'exiter > leaf': calls('exiter'),
    'handler > leaf': calls('handler'),
    'child > leaf': calls('child'),
    'recurse > leaf': recursions,
    [tailJumps ? 'none > leaf' : 'tail > leaf']: calls('tail'),
    'middle > thrower': calls('thrower'),
    'catcher > middle': calls('middle'),
    'landing > jumper': calls('jumper'),
    'coroutine > step': calls('step'),
    'recurse > recurse': calls('recurse') - recursions,
    'none > recurse': recursions,
    ...Object.fromEntries(
      ['catcher', 'landing', 'coroutine', 'exiter', 'handler', 'child', 'tail'].map((name) => [
        `none > ${name}`,
        calls(name),
      ]),
    ),
  };
}

/** Calls of recurse in one another. */
const RECURSE_DEPTH = 6;

/** Spans that do not lie within their parents, with by how many ns. */
export function spansOutside(spans: readonly JsonSpan[]): string[] {
  const byId = new Map(spans.map((span) => [span.spanId, span]));
  return spans.flatMap((span) => {
    const parent = span.parentSpanId === null ? undefined : byId.get(span.parentSpanId);
    if (!parent) return [];
    const early = BigInt(parent.startTimeUnixNano) - BigInt(span.startTimeUnixNano);
    const late = BigInt(span.endTimeUnixNano) - BigInt(parent.endTimeUnixNano);
    if (early <= 0n && late <= 0n) return [];
    return [`${span.name} in ${parent.name}: ${early} ns early, ${late} ns late`];
  });
}

/** caller.c at the other end of a pipe. */
export class Caller {
  private readonly answers: AsyncIterator<string, undefined>;

  private constructor(private readonly child: ReturnType<typeof Caller.spawn>) {
    this.answers = createInterface({ input: child.stdout })[
      Symbol.asyncIterator
    ]() as AsyncIterator<string, undefined>;
  }

  private static spawn(program: string, env: Record<string, string>) {
    return spawn(program, { env: { ...process.env, ...env }, stdio: ['pipe', 'pipe', 'inherit'] });
  }

  static async start(program: string, env: Record<string, string> = {}): Promise<Caller> {
    const child = Caller.spawn(program, env);
    await once(child, 'spawn');
    return new Caller(child);
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  /** Makes calls. Resolves to how many there have been. */
  call(count: number): Promise<number> {
    return this.ask(String(count));
  }

  /** Loads the library and calls it once. */
  load(library: string): Promise<number> {
    return this.ask(`load ${library}`);
  }

  private async ask(line: string): Promise<number> {
    this.child.stdin.write(`${line}\n`);
    const { value, done } = await this.answers.next();
    if (done) throw new Error(`caller ended at "${line}"`);
    return Number(value);
  }

  async stop(): Promise<void> {
    const { child } = this;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exit = once(child, 'exit');
    child.stdin.end();
    await exit;
  }
}
