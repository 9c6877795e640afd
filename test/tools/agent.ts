import { readFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AGENT_CAPABILITIES, type Rights, TESTS_LEAST, withRights } from './capabilities.js';
import { freePort } from './collector.js';
import { OpenMetricsText } from './openmetrics.js';
import { RunningProcess, sleep } from './process.js';
import { traceCommand } from './tracer.js';

/** A line of its log. */
export interface LogLine {
  level: string;
  msg: string;
  code?: string;
  rule?: string;
  [field: string]: unknown;
}

export interface AgentSettings {
  /** The configuration but for `metrics` and `control`: JSON is YAML too. */
  config: object;
  /** Of `metrics`, but for `listen`. */
  metrics?: object;
  env?: Record<string, string>;
  /** How long it may take to be up, in ms. */
  startMs?: number;
  /** A command that is given the agent's, such as setpriv; by default what UNDERSPAN_TEST_LEAST says. */
  under?: string[];
}

/** `trace agent` as a user runs it. `folder` takes its configuration and its socket. */
export class AgentProcess {
  private constructor(
    readonly process: RunningProcess,
    readonly configFile: string,
    readonly socket: string,
    readonly port: number,
  ) {}

  /** Resolves when it is up. */
  static async start(folder: string, settings: AgentSettings): Promise<AgentProcess> {
    const configFile = join(folder, 'agent.yaml');
    const socket = join(folder, 'agent.sock');
    const port = await freePort();
    await writeFile(configFile, text(settings.config, port, socket, settings.metrics));
    return AgentProcess.restart(configFile, socket, port, settings);
  }

  private static async restart(
    configFile: string,
    socket: string,
    port: number,
    { env = {}, under, startMs = 60_000 }: Omit<AgentSettings, 'config'>,
  ): Promise<AgentProcess> {
    const own = [process.execPath, traceCommand, 'agent', '--config', configFile];
    const before = under ?? (TESTS_LEAST ? withRights(await leastRights(configFile)) : []);
    const [command = '', ...args] = [...before, ...own];
    const started = await RunningProcess.start(command, args, env);
    const agent = new AgentProcess(started, configFile, socket, port);
    try {
      await started.until(
        'up',
        () => (agent.said('the rules are in place') ? true : null),
        startMs,
      );
    } catch (error) {
      await started.stop('SIGKILL');
      throw error;
    }
    return agent;
  }

  /** Another one with the same configuration, address and socket. */
  again(settings: Omit<AgentSettings, 'config'> = {}): Promise<AgentProcess> {
    return AgentProcess.restart(this.configFile, this.socket, this.port, settings);
  }

  get pid(): number {
    return this.process.pid;
  }

  get log(): LogLine[] {
    return this.process.output
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as LogLine);
  }

  said(text: string): LogLine | null {
    return this.log.find(({ msg }) => msg.includes(text)) ?? null;
  }

  /** Waits until the log says it. */
  async hear(text: string, ms = 20_000): Promise<LogLine> {
    return this.process.until(`said "${text}"`, () => this.said(text), ms);
  }

  async metrics(): Promise<OpenMetricsText> {
    if (!this.process.running) {
      const { exitCode, signalCode } = this.process.child;
      throw new Error(`the agent has ended: ${exitCode ?? signalCode}\n${this.process.output}`);
    }
    const response = await fetch(`http://127.0.0.1:${this.port}/metrics`);
    if (!response.ok) throw new Error(`metrics: ${response.status} ${await response.text()}`);
    return new OpenMetricsText(await response.text());
  }

  async ready(): Promise<{ ready: boolean; rules: { name: string; problem: string | null }[] }> {
    const response = await fetch(`http://127.0.0.1:${this.port}/readyz`);
    return (await response.json()) as Awaited<ReturnType<AgentProcess['ready']>>;
  }

  /** By name: calls as the agent counts them, of all rules and executables. */
  async calls(): Promise<Map<string, number>> {
    const calls = new Map<string, number>();
    for (const { labels, value } of (await this.metrics()).samples(
      'underspan_function_calls_total',
    )) {
      const name = labels['function'] ?? '';
      calls.set(name, (calls.get(name) ?? 0) + value);
    }
    return calls;
  }

  /** Writes another configuration; it takes that in by itself. */
  async configure(config: object): Promise<void> {
    const before = JSON.parse(await readFile(this.configFile, 'utf8')) as { metrics: object };
    await writeFile(this.configFile, text(config, this.port, this.socket, before.metrics));
  }

  /** Resident memory in bytes. */
  rss(): number {
    const status = readFileSync(`/proc/${this.pid}/status`, 'utf8');
    return Number(/^VmRSS:\s*(\d+) kB/m.exec(status)?.[1]) * 1024;
  }

  /** As an orchestrator does; resolves to the exit status and how long it took, in ms. */
  async stop(): Promise<{ status: number | null; ms: number }> {
    const begin = performance.now();
    await this.process.stop('SIGTERM', 20_000);
    return { status: this.process.child.exitCode, ms: performance.now() - begin };
  }

  async kill(): Promise<void> {
    if (!this.process.running) return;
    this.process.child.kill('SIGKILL');
    await this.process.ended();
  }
}

/** As deploy/ says: holding processes is granted to those who want it. */
async function leastRights(configFile: string): Promise<Rights> {
  const holds = (await readFile(configFile, 'utf8')).includes('"hold": true');
  return { capabilities: [...AGENT_CAPABILITIES, ...(holds ? ['KILL'] : [])], uid: 0 };
}

/** What tests count must not depend on what this host charges for it. */
function withoutBudget(config: object): object {
  const { rules, limits } = config as { rules?: { trace?: object }[]; limits?: object };
  if (!rules) return config;
  const free = ({ trace, ...rule }: { trace?: object }): object =>
    trace ? { ...rule, trace: { maxOverhead: '100%', ...trace } } : rule;
  return { ...config, rules: rules.map(free), limits: { maxOverhead: '100%', ...limits } };
}

function text(config: object, port: number, socket: string, more: object = {}): string {
  const metrics = { ...more, listen: `127.0.0.1:${port}` };
  return JSON.stringify({ ...withoutBudget(config), metrics, control: { socket } }, null, 2);
}

/** Waits until `test` gives something. */
export async function until<T>(
  what: string,
  test: () => T | null | Promise<T | null>,
  ms = 20_000,
): Promise<T> {
  for (const deadline = Date.now() + ms; Date.now() < deadline;) {
    const result = await test();
    if (result !== null) return result;
    await sleep(20);
  }
  throw new Error(`not ${what} after ${ms} ms`);
}
