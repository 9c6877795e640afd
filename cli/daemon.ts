import { plural } from '../src/sinks/tree-format.js';
import type { Context } from './context.js';
import { version } from './version.js';

export interface DaemonValues {
  config: string;
  check?: true;
}

/** Runs until it is told to stop. What it is made of is loaded here, for no other command needs it. */
export async function daemon(context: Context, { config, check }: DaemonValues): Promise<void> {
  if (check) {
    const { readConfig } = await import('../src/agent/config/parse.js');
    const { config: parsed } = await readConfig(config);
    const rules = parsed.rules.map(({ name }) => name).join(', ');
    context.stdout.write(`${config} is right: ${plural(parsed.rules.length, 'rule')} (${rules})\n`);
    return;
  }
  const { Agent } = await import('../src/agent/agent.js');
  let stop!: () => void;
  const stopped = new Promise<void>((resolve) => (stop = resolve));
  // From the beginning: a signal that comes while it starts must not leave anything behind.
  process.on('SIGTERM', stop).on('SIGINT', stop);
  // Its default would end the process.
  process.on('SIGHUP', () => void running?.reload());
  let running: { reload(): Promise<void>; stop(): Promise<void> } | null = null;
  running = await Agent.start({ native: context.native(), configFile: config, version: version() });
  await stopped;
  await running.stop();
}
