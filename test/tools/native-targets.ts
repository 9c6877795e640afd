/** Builds and runs the programs of test/targets/native. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { projectRoot } from './go.js';
import { type JsonSpan, Tracer } from './tracer.js';

const run = promisify(execFile);

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

/** What ends counted: by function, its calls and how many of them were unwound. */
export type EndsCounts = Record<string, [calls: number, unwound: number]>;

const ENDS_OF_C = [
  ...['leaf', 'jumper', 'landing', 'escaper', 'escaping', 'exiter', 'cancelled', 'handler'],
  ...['child', 'vforker', 'recurse', 'tail'],
];

/** By source. */
export const ENDS_FUNCTIONS = {
  'ends.c': ENDS_OF_C,
  'ends.cc': [...ENDS_OF_C, 'thrower', 'middle', 'catcher', 'coroutine', 'step'],
} as const;

export type EndsSource = keyof typeof ENDS_FUNCTIONS;

/** Runs ends.c or ends.cc under the tracer. */
export async function traceEnds(
  source: EndsSource,
  program: string,
  rounds: number,
  args: readonly string[] = [],
): Promise<{ tracer: Tracer; counted: EndsCounts; status: number | null }> {
  const file = `${program}.json`;
  const tracer = Tracer.start([
    ...args,
    ...ENDS_FUNCTIONS[source].flatMap((name) => ['--symbol', name]),
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

/** The edges of ends. `tailJumps`: the compiler has made jumps of the calls that are last. */
export function expectedEdges(
  source: EndsSource,
  counted: EndsCounts,
  tailJumps: boolean,
): Record<string, number> {
  const calls = (name: string): number => counted[name]?.[0] ?? 0;
  const returned = (name: string): number => calls(name) - (counted[name]?.[1] ?? 0);
  const recursions = calls('recurse') / RECURSE_DEPTH;
  const roots = ['landing', 'escaper', 'escaping', 'exiter', 'cancelled', 'handler', 'child'];
  roots.push('vforker', 'tail');
  const edges: Record<string, number> = {
    'jumper > leaf': returned('jumper'),
    'landing > leaf': calls('landing'),
    'escaper > leaf': calls('escaper'),
    'escaping > leaf': calls('escaping'),
    'exiter > leaf': calls('exiter'),
    'cancelled > leaf': calls('cancelled'),
    'handler > leaf': calls('handler'),
    'child > leaf': calls('child'),
    'vforker > leaf': calls('vforker'),
    'recurse > leaf': recursions,
    [tailJumps ? 'none > leaf' : 'tail > leaf']: calls('tail'),
    'landing > jumper': calls('jumper'),
    'recurse > recurse': calls('recurse') - recursions,
    'none > recurse': recursions,
  };
  if (source === 'ends.cc') {
    roots.push('catcher', 'coroutine');
    edges['thrower > leaf'] = returned('thrower');
    edges['catcher > leaf'] = calls('catcher');
    edges['step > leaf'] = 2 * calls('step');
    edges['middle > thrower'] = calls('thrower');
    edges['catcher > middle'] = calls('middle');
    edges['coroutine > step'] = calls('step');
  }
  for (const name of roots) edges[`none > ${name}`] = calls(name);
  return edges;
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
