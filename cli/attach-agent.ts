/** `trace attach --agent`: the agent traces, and the spans are shown here. */
import { resolve } from 'node:path';
import type { SessionRequest } from '../src/agent/control/protocol.js';
import { UnderspanError } from '../src/errors.js';
import { refuseShellExpanded } from '../src/symbols/suggest.js';
import { agentClient } from './agent-client.js';
import { describe, sinksFor, Stop } from './attach.js';
import { type Context, say, sayProgress } from './context.js';
import { Interrupts } from './interrupts.js';
import { type AttachValues, toTraceOptions } from './options.js';

/** Resolves to the exit status. */
export async function attachThroughAgent(
  context: Context,
  values: AttachValues,
  patterns: readonly string[],
  command: string[] | null,
): Promise<number> {
  const request = toRequest(values, patterns, command);
  const client = agentClient(values);
  const stop = new Stop();
  const interrupts = new Interrupts(() => {
    // The agent ends what nobody listens to.
    context.stderr.write('trace: interrupted before anything was traced\n');
    process.exit(1);
  });
  try {
    const sinks = await sinksFor(context, values, stop);
    request.programSpans = sinks.some((sink) => sink.programSpans !== undefined);
    sayProgress(context, 'the agent looks for functions…');
    const session = await client.start(request, sinks);
    say(context, describe(session.started.modules));
    let asked = 0;
    interrupts.tell(() => {
      if (++asked === 2) process.exit(1);
      stop.request();
    });
    void stop.requested.then(() => session.stop());
    await session.summary;
    return 0;
  } finally {
    interrupts.close();
  }
}

function toRequest(
  values: AttachValues,
  patterns: readonly string[],
  command: string[] | null,
): SessionRequest {
  const { selection, ...wishes } = toTraceOptions(values, patterns, command);
  refuseShellExpanded(wishes.symbols);
  if (command !== null) throw notByAgent('the agent starts no programs', 'choose one that runs');
  if (values.dryRun) {
    throw notByAgent('the agent plans nothing that it does not trace', 'leave out --dry-run');
  }
  if (selection.waitMs === Infinity) {
    throw notByAgent('the agent does not wait for ever', 'say how long: --wait=30s');
  }
  if (wishes.symbols.length === 0) {
    throw new UnderspanError(
      'usage',
      'NO_PATTERN',
      'no function is chosen',
      "for example: --symbol 'main.*'",
    );
  }
  return {
    ...wishes,
    // The agent's working directory is another one.
    selection: { ...selection, exes: selection.exes.map((path) => resolve(path)) },
    durationMs: values.duration === undefined ? null : Math.max(1, values.duration),
    programSpans: false,
  };
}

const notByAgent = (message: string, hint: string): UnderspanError =>
  new UnderspanError('usage', 'NOT_BY_AGENT', message, hint);
