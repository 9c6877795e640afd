/** Other tracers, as scripts/fetch-peers has put them into .cache/peers. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readlinkSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { projectRoot } from '../../test/tools/go.js';

const run = promisify(execFile);
const PEERS = join(projectRoot, '.cache/peers');
const LIBRARIES = ['usr/lib/x86_64-linux-gnu', 'lib/x86_64-linux-gnu'];
const LOADERS = ['usr/lib64', 'lib64', ...LIBRARIES].map((each) =>
  join(each, 'ld-linux-x86-64.so.2'),
);

export interface Peer {
  /** With its version and the suite that it comes from. */
  name: string;
  /** Its command line begins with these. */
  command: string[];
}

/** What a bpftrace has open besides probes: a buffer for each CPU. */
export const BPFTRACE_BUFFERS = cpus().length;

/** Those that are there and run, in the order of their suites. */
export async function bpftraces(): Promise<Peer[]> {
  const found = await Promise.all(suites().map((suite) => peer(suite, 'usr/bin/bpftrace')));
  return found.filter((each) => each !== null);
}

/** bcc's tool of that name as it is without a compiler. */
export async function bccTools(tool: string): Promise<Peer[]> {
  const found = await Promise.all(suites().map((suite) => peer(suite, `usr/sbin/${tool}`)));
  return found.filter((each) => each !== null);
}

const suites = (): string[] => (existsSync(PEERS) ? readdirSync(PEERS).sort() : []);

async function peer(suite: string, program: string): Promise<Peer | null> {
  const root = join(PEERS, suite);
  const loader = LOADERS.map((each) => join(root, each)).find(existsSync);
  const path = join(root, program);
  if (loader === undefined || !existsSync(path)) return null;
  const libraries = LIBRARIES.map((each) => join(root, each)).join(':');
  const command = [loader, '--library-path', libraries, path];
  try {
    const { stdout } = await run(command[0] ?? '', [...command.slice(1), '--version']);
    return { name: `${/\S+ v?[\d.]+\d/.exec(stdout)?.[0] ?? program} of ${suite}`, command };
  } catch {
    return null;
  }
}

/** A peer at work. */
export class PeerRun {
  output = '';
  private readonly exit: Promise<unknown>;

  private constructor(readonly child: ChildProcess) {
    this.exit = once(child, 'close');
    for (const stream of [child.stdout, child.stderr])
      stream?.setEncoding('utf8').on('data', (text: string) => (this.output += text));
  }

  static start({ command }: Peer, args: string[], env: Record<string, string> = {}): PeerRun {
    const [program = '', ...rest] = command;
    return new PeerRun(
      spawn(program, [...rest, ...args], {
        env: { ...process.env, ...env },
        stdio: ['ignore', 'pipe', 'pipe'],
      }),
    );
  }

  /** Waits until it is attached: newer bpftraces say it, of others their perf events are seen. */
  attached(events: number): Promise<void> {
    return this.until(
      () => /^Attached \d+ probe/m.test(this.output) || this.perfEvents() >= events,
    );
  }

  private perfEvents(): number {
    const folder = `/proc/${this.child.pid ?? 0}/fd`;
    if (!existsSync(folder)) return 0;
    return readdirSync(folder).filter((name) => {
      try {
        return readlinkSync(join(folder, name)) === 'anon_inode:[perf_event]';
      } catch {
        return false;
      }
    }).length;
  }

  private async until(test: () => boolean, ms = 600_000): Promise<void> {
    for (const deadline = Date.now() + ms; !test();) {
      if (this.child.exitCode !== null || this.child.signalCode !== null)
        throw new Error(`ended: ${this.output.trim().slice(0, 400)}`);
      if (Date.now() > deadline) throw new Error(`not attached after ${ms} ms`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  /** As Ctrl-C does; resolves when it has detached and ended. */
  async stop(): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill('SIGINT');
    await this.exit;
  }
}
