/** A program that answers each line it is given with one. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

export class Asked {
  private readonly lines: AsyncIterator<string, undefined>;

  private constructor(
    private readonly child: ChildProcess,
    readonly pid: number,
    readonly binary: string,
  ) {
    if (!child.stdout) throw new Error(`${binary} has no standard output`);
    this.lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]() as AsyncIterator<
      string,
      undefined
    >;
  }

  static async start(binary: string, args: string[] = []): Promise<Asked> {
    const child = spawn(binary, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    await once(child, 'spawn');
    return new Asked(child, child.pid ?? 0, binary);
  }

  /** The next line that it prints. */
  async line(): Promise<string> {
    const { value, done } = await this.lines.next();
    if (done) throw new Error(`${this.binary} has ended`);
    return value;
  }

  async number(line: string): Promise<number> {
    this.child.stdin?.write(`${line}\n`);
    return Number(await this.line());
  }

  async stop(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const exit = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await exit;
  }
}
