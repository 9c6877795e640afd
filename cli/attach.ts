import { constants } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { type TracedModule, tracedModules } from '../src/agent/control/protocol.js';
import type { Trace, TraceOptions } from '../src/engine.js';
import { UnderspanError } from '../src/errors.js';
import type { Sink } from '../src/sinks/sink.js';
import { plural } from '../src/sinks/tree-format.js';
import { refuseShellExpanded } from '../src/symbols/suggest.js';
import { resolveExecutable } from '../src/targets/executable.js';
import type { CommandEnd } from '../src/targets/launch.js';
import { selectTargets } from '../src/targets/select.js';
import { type Context, say, sayProgress } from './context.js';
import { OWN_FAILURE } from './errors.js';
import { type Interrupt, Interrupts } from './interrupts.js';
import { type AttachValues, toTraceOptions } from './options.js';

/** Resolves to the exit status. */
export async function attach(
  context: Context,
  values: AttachValues,
  patterns: readonly string[],
  command: string[] | null,
): Promise<number> {
  const options = toTraceOptions(values, patterns, command);
  refuseShellExpanded(options.symbols);
  if (options.symbols.length === 0) throw await nothingToTrace(context, options);
  if (values.dryRun) {
    const plan = await context.planTrace(context.native(), { ...options, sinks: [] });
    const { renderPlan, renderPlanJson } = await import('./plan.js');
    context.stdout.write(await (values.output === 'json' ? renderPlanJson : renderPlan)(plan));
    for (const { message, hint } of plan.notices) say(context, message, hint);
    return 0;
  }
  const stop = new Stop();
  const interrupts = new Interrupts(() => {
    // Nothing is attached yet that the kernel would not take back with this process.
    context.stderr.write('trace: interrupted before anything was traced\n');
    process.exit(command ? OWN_FAILURE : 1);
  });
  try {
    const trace = await start(context, values, options, stop);
    return await follow(context, values, trace, stop, interrupts);
  } finally {
    interrupts.close();
  }
}

/** Why tracing comes to its end; the first reason counts. */
export class Stop {
  isRequested = false;
  request!: () => void;
  readonly requested = new Promise<void>((resolve) => {
    this.request = (): void => {
      this.isRequested = true;
      resolve();
    };
  });
}

async function start(
  context: Context,
  values: AttachValues,
  options: Omit<TraceOptions, 'sinks'>,
  stop: Stop,
): Promise<Trace> {
  const native = context.native();
  const { selection } = options;
  if (selection.waitMs > 0) {
    await selectTargets(selection, {
      procfs: context.procfs,
      onWait: (description) => say(context, `waiting for ${description}…`),
    });
  }
  const sinks = await sinksFor(context, values, stop);
  sayProgress(context, 'looking for functions…');
  const trace = await context.startTrace(native, { ...options, sinks });
  say(context, describe(tracedModules(trace.plan)));
  for (const notice of trace.plan.notices) {
    for (const sink of sinks) sink.notice?.(notice);
  }
  return trace;
}

export async function sinksFor(
  context: Context,
  values: AttachValues,
  stop: Stop,
): Promise<Sink[]> {
  // A reader that went away, as head(1) does, wants no more; that is no failure.
  const opened = await context.openSinks(values, stop.request, ({ message, hint }) =>
    say(context, message, hint),
  );
  if (values.maxSpans === undefined) return opened;
  const { FirstTraces } = await import('../src/sinks/first-traces.js');
  return [new FirstTraces(opened, values.maxSpans, stop.request)];
}

export async function follow(
  context: Context,
  values: AttachValues,
  trace: Trace,
  stop: Stop,
  interrupts: Interrupts,
  /** Ends this trace and nothing else. */
  enough?: Promise<void>,
): Promise<number> {
  const commandPid = trace.command ? trace.plan.targets[0]?.pid : undefined;
  let running = trace.command !== null;
  void trace.command?.then(() => (running = false));
  let asked = 0;
  interrupts.tell((signal) => {
    asked++;
    if (running && asked === 1 && commandPid !== undefined) forward(signal, commandPid);
    else if (asked === (trace.command ? 3 : 2)) process.exit(trace.command ? OWN_FAILURE : 1);
    else stop.request();
  });
  const timer = new AbortController();
  if (values.duration !== undefined) {
    sleep(values.duration, undefined, { signal: timer.signal }).then(stop.request, () => undefined);
  }
  await Promise.race([trace.ended, stop.requested, ...(enough ? [enough] : [])]);
  timer.abort();
  await trace.stop();
  if (!trace.command) return 0;
  if (running) say(context, 'tracing has ended; the command goes on');
  interrupts.tell((signal) => {
    if (running && commandPid !== undefined) forward(signal, commandPid);
  });
  return statusOf(await trace.command);
}

/** What comes from the terminal reached the command already: it is of the same process group. */
function forward(signal: Interrupt, pid: number): void {
  if (signal === 'SIGINT' && process.stdin.isTTY) return;
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended.
  }
}

function statusOf({ code, signal }: CommandEnd): number {
  return code ?? 128 + (signal === null ? 0 : constants.signals[signal]);
}

export function describe(modules: readonly TracedModule[]): string {
  const traced = modules.filter(({ functions }) => functions > 0);
  const parts = traced.map(({ executable, pids, comm, functions }) => {
    const whose = pids.length > 3 ? `${pids.length} processes` : `pid ${pids.join(', ')}`;
    return `${plural(functions, 'function')} in ${whose} (${comm ?? executable})`;
  });
  return parts.length > 0
    ? `attached to ${parts.join('; ')}…`
    : 'nothing to attach to yet; what it maps, and what it starts, is looked at…';
}

async function nothingToTrace(
  context: Context,
  { selection }: Omit<TraceOptions, 'sinks'>,
): Promise<UnderspanError> {
  let file: string;
  let chosen: string;
  if (selection.command) {
    file = resolveExecutable(selection.command[0] ?? '');
    chosen = `-- ${selection.command[0] ?? ''}`;
  } else {
    const [target] = await selectTargets({ ...selection, waitMs: 0 }, { procfs: context.procfs });
    file = target?.file ?? '';
    chosen = `--pid ${target?.pid ?? ''}`;
  }
  const { examplePatterns } = await import('../src/plan/example.js');
  const patterns = (await examplePatterns(context.native(), file))
    .map((pattern) => `--symbol '${pattern}'`)
    .join(' ');
  const example = selection.command ? `${patterns} ${chosen}` : `${chosen} ${patterns}`;
  return new UnderspanError(
    'usage',
    'NO_PATTERN',
    'no function is chosen',
    `for example: trace attach ${example}`,
  );
}
