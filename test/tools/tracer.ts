import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { AttributeValue } from '../../src/spans/span.js';
import type { Notice, Summary } from '../../src/sinks/sink.js';
import { LEAST_CAPABILITIES, type Rights, TESTS_LEAST, withRights } from './capabilities.js';
import { projectRoot } from './go.js';
import { sleep } from './process.js';

/** A span as `--output json` writes it. */
export interface JsonSpan {
  traceId: string;
  spanId: string;
  parentSpanId: string | null;
  name: string;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  durationNano: number;
  status: { code: string; message?: string };
  attributes: Record<string, AttributeValue>;
  events?: { name: string; timeUnixNano: string; attributes: Record<string, AttributeValue> }[];
  links?: { traceId: string; spanId: string; attributes: Record<string, AttributeValue> }[];
  resource: Record<string, AttributeValue>;
}

export const traceCommand = join(projectRoot, 'dist/cli/main.js');

const RIGHTS: Rights | null = TESTS_LEAST ? { capabilities: LEAST_CAPABILITIES, uid: 0 } : null;

function commandLine(args: readonly string[], rights: Rights | null): [string, string[]] {
  const prefix = rights ? withRights(rights) : [];
  const [command = '', ...rest] = [...prefix, process.execPath, traceCommand, ...args];
  return [command, rest];
}

/** The command line tool as a user runs it, with `attach --output json`. */
export class Tracer {
  readonly spans: JsonSpan[] = [];
  readonly notices: Notice[] = [];
  summary: Summary | null = null;
  stderr = '';
  private cut: string | null = null;
  private readonly exit: Promise<[number | null, NodeJS.Signals | null]>;
  private readonly read: Promise<unknown>;

  private constructor(readonly child: ChildProcess) {
    this.exit = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (this.stderr += text));
    if (!child.stdout) throw new Error('no standard output');
    const lines = createInterface({ input: child.stdout });
    lines.on('line', (line) => this.line(line));
    this.read = once(lines, 'close');
  }

  static start(
    args: readonly string[],
    env: Record<string, string> = {},
    rights: Rights | null = RIGHTS,
  ): Tracer {
    // What tests count must not depend on what this host charges for it.
    const budget = args.includes('--max-overhead') ? [] : ['--max-overhead', '100%'];
    const fold = args.includes('--fold') ? [] : ['--fold', '0'];
    return new Tracer(
      spawn(...commandLine(['attach', '--output', 'json', ...budget, ...fold, ...args], rights), {
        env: { ...process.env, ...env },
        stdio: ['ignore', 'pipe', 'pipe'],
      }),
    );
  }

  /** Resolves when it says that it is attached. */
  static async attach(
    args: readonly string[],
    env: Record<string, string> = {},
    rights: Rights | null = RIGHTS,
  ): Promise<Tracer> {
    const tracer = Tracer.start(args, env, rights);
    for (
      const deadline = Date.now() + 30_000;
      !/(?:attached|nothing to attach) to .*…/.test(tracer.stderr);
    ) {
      if (tracer.child.exitCode !== null) throw new Error(`not attached:\n${tracer.stderr}`);
      if (Date.now() > deadline) throw new Error(`not attached in time:\n${tracer.stderr}`);
      await sleep(10);
    }
    return tracer;
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  /** As Ctrl-C does; resolves to the exit status when all output has been read. */
  async stop(): Promise<number | null> {
    if (this.child.exitCode === null) this.child.kill('SIGINT');
    return this.ended();
  }

  async ended(): Promise<number | null> {
    const [status, signal] = await this.exit;
    await this.read;
    if (this.cut !== null && signal === null) throw new Error(`a line was cut: ${this.cut}`);
    return status;
  }

  /** The summary that came last. */
  get result(): Summary {
    if (!this.summary) throw new Error(`no summary; standard error:\n${this.stderr}`);
    return this.summary;
  }

  private line(line: string): void {
    // What a traced command prints shares standard output with us.
    if (!line.startsWith('{"type":')) return;
    let parsed: { type: string };
    try {
      parsed = JSON.parse(line) as { type: string };
    } catch {
      // As the last one may be if it was killed.
      this.cut = line;
      return;
    }
    const { type, ...rest } = parsed;
    if (type === 'span') this.spans.push(rest as JsonSpan);
    else if (type === 'notice') this.notices.push(rest as Notice);
    else if (type === 'summary') this.summary = rest as unknown as Summary;
  }
}

/** A whole run of the tool: exit status and what it wrote. */
export async function trace(
  args: readonly string[],
  options: {
    cwd?: string;
    env?: Record<string, string>;
    timeoutMs?: number;
    rights?: Rights | null;
  } = {},
): Promise<{ status: number | null; stdout: string; stderr: string }> {
  const child = spawn(...commandLine(args, options.rights ?? RIGHTS), {
    cwd: options.cwd ?? projectRoot,
    env: { ...process.env, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: options.timeoutMs ?? 60_000,
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const [status] = (await once(child, 'close')) as [number | null];
  return { status, stdout, stderr };
}

/** Sum of all losses. */
export const totalLost = ({ lost }: Summary): number =>
  Object.values(lost).reduce((sum, count) => sum + count, 0);
