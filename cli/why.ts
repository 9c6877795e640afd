/** `trace why`: what made the slow requests slow. */
import { setTimeout as sleep } from 'node:timers/promises';
import { tracedModules } from '../src/agent/control/protocol.js';
import type { TraceOptions } from '../src/engine.js';
import { siteCostNs } from '../src/plan/cost.js';
import type { Notice } from '../src/sinks/sink.js';
import { COLOURS, PLAIN, plural } from '../src/sinks/tree-format.js';
import { refuseShellExpanded } from '../src/symbols/suggest.js';
import { resolveExecutable } from '../src/targets/executable.js';
import { selectTargets } from '../src/targets/select.js';
import { Why } from '../src/why/analysis.js';
import type { Criterion } from '../src/why/groups.js';
import { type LeftOut, tooDear } from '../src/why/narrow.js';
import { ownFunctions } from '../src/why/own-functions.js';
import { WhySink } from '../src/why/sink.js';
import { describe, follow, Stop } from './attach.js';
import { type Context, say, sayProgress } from './context.js';
import { OWN_FAILURE } from './errors.js';
import { Interrupts } from './interrupts.js';
import { type AttachValues, toTraceOptions } from './options.js';

export interface WhyValues extends Omit<AttachValues, 'output' | 'span'> {
  output: 'text' | 'json';
  span?: string[];
}

/** How long calls are only counted, to see which functions are called too often. */
const LOOK_MS = 1_000;
/** Of the budget; what belongs to no function, and calls that come more often later, have the rest. */
const FOR_FUNCTIONS = 0.7;
const MAX_FUNCTIONS = 2_000;

/** Resolves to the exit status. */
export async function why(
  context: Context,
  values: WhyValues,
  patterns: readonly string[],
  command: string[] | null,
): Promise<number> {
  const criterion = criterionOf(values);
  // What is not slow is what slow requests are compared with: nothing may be left out.
  const { slowerThan, errorsOnly, span, ...rest } = { ...values, output: 'none' as const };
  void [slowerThan, errorsOnly];
  const options = toTraceOptions(rest, patterns, command);
  refuseShellExpanded(options.symbols);
  if (options.selection.waitMs > 0) {
    await selectTargets(options.selection, {
      procfs: context.procfs,
      onWait: (description) => say(context, `waiting for ${description}…`),
    });
  }
  const stop = new Stop();
  const interrupts = new Interrupts(() => {
    context.stderr.write('trace: interrupted before anything was traced\n');
    process.exit(command ? OWN_FAILURE : 1);
  });
  try {
    const narrowed = await narrow(context, await withSymbols(context, options));
    const sink = new WhySink(new Why({ criterion, ...wantedBy(span) }));
    const notices = await noticesTo(context, rest, stop);
    const trace = await context.startTrace(context.native(), {
      ...narrowed,
      sinks: [sink, ...notices],
      // Nobody is shown them.
      allocationStacks: false,
    });
    say(context, describe(tracedModules(trace.plan)));
    const status = await follow(context, rest, trace, stop, interrupts);
    await print(context, values, sink);
    return status;
  } finally {
    interrupts.close();
  }
}

function criterionOf({ slowerThan, errorsOnly }: WhyValues): Criterion {
  if (errorsOnly) return { kind: 'errors' };
  return slowerThan === undefined ? { kind: 'outliers' } : { kind: 'slower-than', ns: slowerThan };
}

function wantedBy(names: readonly string[] | undefined): {
  isWanted?: (request: string) => boolean;
} {
  if (!names) return {};
  const parts = names.map((name) =>
    name
      .split('*')
      .map((part) => part.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&'))
      .join('.*'),
  );
  const expression = new RegExp(`^(?:${parts.join('|')})$`, 's');
  return { isWanted: (request) => expression.test(request) };
}

/** The program's own functions, if none are chosen. */
async function withSymbols(context: Context, options: Wanted): Promise<Wanted> {
  if (options.symbols.length > 0) return options;
  const { selection } = options;
  const files = selection.command
    ? [resolveExecutable(selection.command[0] ?? '')]
    : (await selectTargets({ ...selection, waitMs: 0 }, { procfs: context.procfs })).map(
        ({ file }) => file,
      );
  sayProgress(context, 'looking for the program’s own functions…');
  const limit = options.maxFunctions ?? MAX_FUNCTIONS;
  const found = await Promise.all(
    [...new Set(files)].map((file) => ownFunctions(context.native(), file, limit)),
  );
  return { ...options, symbols: [...new Set(found.flat())] };
}

type Wanted = Omit<TraceOptions, 'sinks'>;

/**
 * The governor would stop spans altogether before it withdraws anything. So calls are counted first,
 * and what is too dear is left out from the beginning.
 */
async function narrow(context: Context, options: Wanted): Promise<Wanted> {
  const { maxOverhead, selection, exclude } = options;
  if (maxOverhead >= 1 || selection.command) return options;
  sayProgress(context, 'counting calls for a second…');
  const counting = await context.startTrace(context.native(), {
    ...options,
    entryOnly: true,
    sinks: [],
  });
  const from = performance.now();
  await Promise.race([sleep(LOOK_MS), counting.ended]);
  const seconds = (performance.now() - from) / 1e3;
  const { functions } = await counting.stop();
  const { modules, costs, targets } = counting.plan;
  const hitNs = new Map(
    modules.flatMap(({ plan }) =>
      plan.functions.map(({ name, entry }) => [name, siteCostNs(entry, costs)] as const),
    ),
  );
  const returnNs = costs.carriedOutNs ?? costs.singleSteppedNs;
  const called = functions.map(({ name, calls }) => ({
    name,
    callsPerSecond: calls / seconds,
    // Of returns nothing is planned yet: no ret is emulated.
    callNs: (hitNs.get(name) ?? 0) + returnNs + costs.enterNs + costs.leaveNs + costs.spanNs,
  }));
  const leftOut = tooDear(called, maxOverhead * targets.length * FOR_FUNCTIONS);
  if (leftOut.length === 0) return options;
  sayLeftOut(context, leftOut);
  return { ...options, exclude: [...exclude, ...leftOut.map(({ name }) => name)] };
}

const NAMED = 3;

function sayLeftOut(context: Context, leftOut: readonly LeftOut[]): void {
  const named = leftOut.slice(0, NAMED).map(({ name, callsPerSecond }) => {
    return `${name} (${Math.round(callsPerSecond).toLocaleString('en')} calls a second)`;
  });
  const others = leftOut.length - named.length;
  const more = others > 0 ? ` and ${plural(others, 'other')}` : '';
  say(
    context,
    `left out, to keep within the budget: ${named.join(', ')}${more}`,
    'their time is their callers’; --max-overhead raises the budget',
  );
}

async function noticesTo(
  context: Context,
  values: AttachValues,
  stop: Stop,
): Promise<Awaited<ReturnType<Context['openSinks']>>> {
  return context.openSinks(values, stop.request, ({ message, hint }: Notice) =>
    say(context, message, hint),
  );
}

async function print(context: Context, { output }: WhyValues, sink: WhySink): Promise<void> {
  const { report, summary } = sink;
  if (!report || !summary) return;
  const { renderWhy, renderWhyJson } = await import('./why-text.js');
  const colours = context.stdout.isTTY && !process.env['NO_COLOR'];
  context.stdout.write(
    output === 'json'
      ? renderWhyJson(report, summary)
      : renderWhy(report, summary, colours ? COLOURS : PLAIN),
  );
}
