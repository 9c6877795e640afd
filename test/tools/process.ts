import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';

/** A program under test, with what it prints. */
export class RunningProcess {
  output = '';
  private readonly exit: Promise<unknown>;

  private constructor(
    readonly child: ChildProcess,
    readonly pid: number,
  ) {
    this.exit = once(child, 'exit');
    for (const stream of [child.stdout, child.stderr])
      stream?.setEncoding('utf8').on('data', (text: string) => (this.output += text));
  }

  static async start(
    command: string,
    args: string[],
    env: Record<string, string> = {},
  ): Promise<RunningProcess> {
    const child = spawn(command, args, {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    await once(child, 'spawn');
    if (child.pid === undefined) throw new Error(`${command} did not start`);
    return new RunningProcess(child, child.pid);
  }

  get running(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  /** Waits until `test` gives something; fails with the output when the program ends instead. */
  async until<T>(what: string, test: () => T | null | Promise<T | null>, ms = 20_000): Promise<T> {
    for (const deadline = Date.now() + ms; Date.now() < deadline;) {
      const result = await test();
      if (result !== null) return result;
      if (!this.running) throw new Error(`ended before ${what}:\n${this.output}`);
      await sleep(20);
    }
    throw new Error(`not ${what} after ${ms} ms:\n${this.output}`);
  }

  /** Resolves to its exit status; null: ended by a signal. */
  async ended(): Promise<number | null> {
    await this.exit;
    return this.child.exitCode;
  }

  /** SIGTERM, then after a while SIGKILL. */
  async stop(signal: NodeJS.Signals = 'SIGTERM', graceMs = 10_000): Promise<void> {
    if (!this.running) return;
    this.child.kill(signal);
    const timer = setTimeout(() => this.child.kill('SIGKILL'), graceMs);
    await this.exit;
    clearTimeout(timer);
  }
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
