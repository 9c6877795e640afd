/** The looks of `trace why`: at what the budget pays for, then closer at what that one leaves open. */
import { tracedModules } from '../src/agent/control/protocol.js';
import type { Trace } from '../src/engine.js';
import { closeKept, KeptOpen } from '../src/sinks/kept-open.js';
import type { Sink, Summary } from '../src/sinks/sink.js';
import { plural } from '../src/sinks/tree-format.js';
import { Why, type WhyOptions, type WhyReport } from '../src/why/analysis.js';
import { type Closer, closerLook, closerMs, saysMore } from '../src/why/look-again.js';
import { WhySink } from '../src/why/sink.js';
import type { Stop } from './attach.js';
import { describe, follow } from './attach.js';
import { type Context, say } from './context.js';
import type { Interrupts } from './interrupts.js';
import type { AttachValues } from './options.js';
import { type Counted, listed, type Wanted } from './why-count.js';

export interface Looking {
  context: Context;
  values: AttachValues;
  options: Wanted;
  counted: Counted;
  asked: WhyOptions;
  /** Where spans go besides. */
  sinks: Sink[];
  stop: Stop;
  interrupts: Interrupts;
}

export interface Answer {
  report: WhyReport;
  /** Of the first look. */
  summary: Summary;
  again: LookedAgain | null;
}

export interface LookedAgain {
  ms: number;
  functions: number;
  /** What the first look had left out, and what this one left out too. */
  added: string[];
  leftOut: string[];
  /** The report is of this look. */
  answers: boolean;
  summary: Summary;
}

/** How long sinks may take to deliver what is left. */
const FLUSH_MS = 5_000;

/** Returns the exit status as well. */
export async function look(looking: Looking): Promise<{ status: number; answer: Answer }> {
  const { context, values, options, counted, asked, sinks, stop, interrupts } = looking;
  const why = new Why(asked);
  const sink = new WhySink(why);
  let goesOn = false;
  const trace = await start(looking, {
    ...options,
    exclude: [...options.exclude, ...counted.leftOut.map(({ name }) => name)],
    sinks: [sink, ...sinks.map((each) => new KeptOpen(each, () => goesOn))],
  });
  say(context, describe(tracedModules(trace.plan)));
  const decision = whenToLookCloser(looking, why, trace);
  const enough = decision.then(() => void (goesOn = true));
  const status = await follow(context, values, trace, stop, interrupts, enough);
  const first = ended(sink);
  if (!goesOn) return { status, answer: { ...first, again: null } };
  const closer = await decision;
  const again = stop.isRequested ? null : await lookCloser(looking, closer);
  if (!again) {
    const summary = await closeKept(sinks, first.summary, FLUSH_MS);
    return { status, answer: { ...first, summary, again } };
  }
  const { report, ...looked } = again;
  const answers = saysMore(first.report, report, closer);
  return {
    status,
    answer: {
      // Of requests of other names only the first look knows.
      report: answers ? { ...report, others: first.report.others } : first.report,
      summary: first.summary,
      again: { ...looked, answers },
    },
  };
}

/** Resolves once it is clear that a closer look can say more; where it cannot, never. */
function whenToLookCloser(
  { values, options, counted, stop }: Looking,
  why: Why,
  trace: Trace,
): Promise<Closer> {
  return new Promise((resolve) => {
    const { duration } = values;
    if (duration === undefined || counted.leftOut.length === 0) return;
    const timer = setTimeout(
      () => {
        const kept = carriers(options, trace);
        const closer = closerLook({ ...counted, report: why.soFar(), kept });
        if (closer) resolve(closer);
      },
      duration - closerMs(duration),
    );
    void Promise.race([trace.ended, stop.requested]).then(() => clearTimeout(timer));
  });
}

/** Functions with an argument that was asked for, by which requests are told apart. */
function carriers({ args }: Wanted, { plan }: Trace): Set<string> {
  // Of all functions all arguments: those on the path will do.
  if (args.length === 0 || args.includes('*')) return new Set();
  const functions = plan.modules.flatMap(({ plan }) => plan.functions);
  const those = functions.filter(({ values }) => values.arguments.length > 0);
  return new Set(those.map(({ name }) => name));
}

/** null: it could not begin. */
async function lookCloser(
  looking: Looking,
  closer: Closer,
): Promise<(Omit<LookedAgain, 'answers'> & { report: WhyReport }) | null> {
  const { context, values, options, counted, asked, sinks, stop, interrupts } = looking;
  const isWanted = (request: string): boolean => request === closer.request;
  const sink = new WhySink(new Why({ ...asked, isWanted }));
  let trace: Trace;
  try {
    trace = await start(looking, {
      ...options,
      selection: { ...options.selection, waitMs: 0 },
      symbols: closer.functions.map((name) => counted.patterns.get(name) ?? name),
      sinks: [sink, ...sinks],
    });
  } catch (error) {
    // As where the program has just ended; what was seen before is worth as much.
    say(context, `could not look again: ${error instanceof Error ? error.message : String(error)}`);
    return null;
  }
  const modules = tracedModules(trace.plan);
  const functions = modules.reduce((sum, each) => sum + each.functions, 0);
  const { added, leftOut } = closer;
  say(
    context,
    `looking again, at ${plural(functions, 'function')}: those on the path and ${added.length} left out before…`,
    leftOut.length > 0 ? `still left out: ${listed(leftOut)}` : undefined,
  );
  const begin = performance.now();
  let ms = 0;
  void Promise.race([trace.ended, stop.requested]).then(() => (ms = performance.now() - begin));
  const duration = closerMs(values.duration ?? 0);
  await follow(context, { ...values, duration }, trace, stop, interrupts);
  return { ...ended(sink), ms, functions, added, leftOut: leftOut.map(({ name }) => name) };
}

const start = (
  { context }: Looking,
  options: Wanted & { sinks: Sink[] },
): ReturnType<Context['startTrace']> =>
  // By which stacks is allocated, nobody is shown.
  context.startTrace(context.native(), { ...options, allocationStacks: false });

function ended({ report, summary }: WhySink): { report: WhyReport; summary: Summary } {
  if (!report || !summary) throw new Error('a look has ended without a report');
  return { report, summary };
}
