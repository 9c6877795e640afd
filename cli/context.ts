import type { planTrace, startTrace } from '../src/engine.js';
import type { Native } from '../src/native/native.js';
import type { Sink } from '../src/sinks/sink.js';
import type { Procfs } from '../src/targets/procfs.js';
import type { openSinks } from './sinks.js';

/** Options that choose the sinks. */
export interface SinkValues {
  output: 'tree' | 'json' | 'none';
  otlp?: true;
  otlpEndpoint?: string;
}

/** What the commands reach of the world. */
export interface Context {
  /** Throws an UnderspanError where the addon is missing. */
  native: () => Native;
  startTrace: typeof startTrace;
  planTrace: typeof planTrace;
  openSinks: (...to: Parameters<typeof openSinks>) => Sink[] | Promise<Sink[]>;
  procfs: Procfs;
  stdout: NodeJS.WriteStream;
  stderr: NodeJS.WriteStream;
}

/** Progress and warnings: never on standard output, which carries results only. */
export function say(context: Context, message: string, hint?: string): void {
  context.stderr.write(`trace: ${message}\n${hint === undefined ? '' : `  ${hint}\n`}`);
}

/** For steps that may be slow: of interest only to someone who sits in front of it. */
export function sayProgress(context: Context, message: string): void {
  if (context.stderr.isTTY) say(context, message);
}
