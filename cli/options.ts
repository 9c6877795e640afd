import { type Command, Option } from 'commander';
import type { Selection, TraceOptions } from '../src/engine.js';
import { UnderspanError } from '../src/errors.js';
import type { ErrorMode } from '../src/plan/error-modes.js';
import { type Transport, TRANSPORTS } from '../src/session/transport.js';
import { FOLD } from '../src/spans/folds.js';
import { MAX_CONTEXT_HOPS } from '../src/spans/records.generated.js';
import type { AgentValues } from './agent.js';
import type { SinkValues } from './context.js';
import {
  collect,
  once,
  parseCount,
  parseDuration,
  parseErrorMode,
  parseHops,
  parsePid,
  parseBudget,
  parsePositive,
  parseRate,
  parseRingSize,
  parseShare,
  parseTimeout,
} from './values.js';

/** Of one CPU. */
export const MAX_OVERHEAD = 0.05;
export const RING_BYTES = 8 << 20;
export const CONTEXT_HOPS = 32;

/** Arguments before and after `--`; a command is only what stands behind it. */
export interface Arguments {
  own: string[];
  command: string[] | null;
}

export function splitCommand(argv: readonly string[]): Arguments {
  const at = argv.indexOf('--');
  const own = (at < 0 ? argv : argv.slice(0, at)).map((argument) =>
    // Otherwise the pattern behind it would be taken for its value.
    argument === '--wait' || argument === '--agent' ? `${argument}=` : argument,
  );
  const command = at < 0 ? null : argv.slice(at + 1);
  if (command?.length === 0) {
    throw new UnderspanError('usage', 'NO_COMMAND', "there is no command behind '--'");
  }
  return { own, command };
}

const text = (value: string): string => value;

export interface SelectionValues {
  pid?: number[];
  exe?: string[];
  comm?: string[];
  container?: string[];
  otelService?: string[];
  wait?: number;
}

export function addSelection(command: Command): Command {
  return command
    .optionsGroup('Which processes (repeat for any of a kind; all kinds must hold):')
    .option('-p, --pid <n>', 'the process with this id', collect(parsePid))
    .option('--exe <path>', 'that run this executable', collect(text))
    .option('--comm <name>', 'of this name, as ps -o comm shows it', collect(text))
    .option('--container <id>', 'in this container; the first digits of its id do', collect(text))
    .option('--otel-service <name>', 'whose service.name this is', collect(text))
    .addOption(
      new Option('--wait [=duration]', 'wait until one starts, for no longer than that').argParser(
        (value: string) => (value === '' ? Infinity : parseTimeout(value)),
      ),
    );
}

export function toSelection(values: SelectionValues, command: string[] | null): Selection {
  const selection: Selection = {
    pids: values.pid ?? [],
    exes: values.exe ?? [],
    comms: values.comm ?? [],
    containers: values.container ?? [],
    services: values.otelService ?? [],
    command,
    waitMs: values.wait ?? 0,
  };
  const { pids, exes, comms, containers, services } = selection;
  const kinds = [pids, exes, comms, containers, services].filter((kind) => kind.length > 0).length;
  if (kinds === 0 && command === null) {
    throw new UnderspanError(
      'usage',
      'NO_SELECTION',
      'no process is chosen',
      'choose by --pid, --exe, --comm, --container or --otel-service, or start one: -- COMMAND',
    );
  }
  if (kinds > 0 && command !== null) {
    throw new UnderspanError(
      'usage',
      'SELECTION_AND_COMMAND',
      "a command behind '--' is itself what is traced; other processes cannot be chosen with it",
      'leave out either of the two',
    );
  }
  if (command !== null && values.wait !== undefined) {
    throw new UnderspanError('usage', 'WAIT_AND_COMMAND', '--wait has no meaning with a command');
  }
  return selection;
}

export interface AttachValues extends SelectionValues, SinkValues, AgentValues {
  symbol?: string[];
  exclude?: string[];
  minDuration: number;
  slowerThan?: number;
  errorsOnly?: true;
  span?: string;
  where?: string[];
  by?: string;
  fold: number;
  sample: number;
  maxRate: number;
  entryOnly?: true;
  contextHops: number;
  emulatedReturns: boolean;
  returnTrampoline?: true;
  arg?: string[];
  return?: true;
  waits?: true;
  gc?: true;
  allocations?: true;
  stack?: true;
  errorText: boolean;
  errors?: ErrorMode[];
  redact?: string[] | false | true;
  roots: boolean;
  unsampled?: true;
  followForks: boolean;
  maxFunctions?: number;
  maxOverhead: number;
  transport: Transport;
  ringSize: number;
  duration?: number;
  maxSpans?: number;
  dryRun?: true;
  verbose?: true;
}

export function addTracing(command: Command): Command {
  return command
    .optionsGroup('Which functions:')
    .option('--symbol <pattern>', 'functions to trace; the same as a PATTERN', collect(text))
    .option('--exclude <pattern>', 'not these', collect(text))
    .option(
      '--max-functions <n>',
      'refuse to trace more functions at once; by default 2000, or 100 where probes are attached one by one',
      parsePositive,
    )
    .option(
      '--max-overhead <share>',
      'what tracing may cost a target, as a share of one CPU; 100% is any cost',
      parseBudget,
      MAX_OVERHEAD,
    )
    .optionsGroup('Which calls:')
    .option('--min-duration <duration>', 'no span for a shorter call', parseDuration, 0)
    .option(
      '--slower-than <duration>',
      'only trees whose outermost call took longer',
      parseDuration,
    )
    .option('--errors-only', 'only trees that hold an error')
    .option(
      '--span <name>',
      "only trees beneath a span of the program's own of this name; `*` and /…/ as in a PATTERN",
    )
    .option(
      '--where <condition>',
      "what must hold for that span: 'span.attr.tenant.id == \"acme\"', 'span.status == error'",
      collect(text),
    )
    .option(
      '--by <key>',
      "count spans by what the program's own say too: span.attr.tenant.id, span.name, span.status",
      once,
    )
    .option(
      '--fold <n>',
      'spans of one function beneath one parent; the others are folded into one. 0 folds none',
      parseCount,
      FOLD,
    )
    .option('--sample <share>', 'share of traces to keep: 0.1 or 10%', parseShare, 1)
    .option('--max-rate <n>', 'trees a second; 0 is no limit', parseRate, 0)
    .option('--roots', 'calls without a context as traces of their own', true)
    .option('--no-roots', 'only count such calls')
    .option('--unsampled', "also where the program's own trace is not sampled")
    .option('--entry-only', 'count calls without their returns: the cheapest look')
    .option('--follow-forks', 'children too', true)
    .option('--no-follow-forks', 'not its children')
    .optionsGroup('What spans carry besides time:')
    .option(
      '--arg <path>',
      "an argument, by name or number: 'order', 'order.ID', '0'; '*' is all",
      collect(text),
    )
    .option('--return', 'what calls return')
    .option('--stack', 'who called them')
    .option('--waits', 'how long calls waited, for what, and who let them')
    .option('--gc', 'what the garbage collector does, and how long calls were paused')
    .option('--allocations', 'how many bytes calls allocated, and where most of them')
    .option('--no-error-text', 'of errors and panics only the type')
    .option(
      '--errors <which>',
      "results of C, C++ and Rust that are errors: negative, null, err; by default err, which is Rust's",
      collect(parseErrorMode),
    )
    .option(
      '--redact <name>',
      'hide values of this name, besides those that look like secrets',
      collect(text),
    )
    .option('--no-redact', 'hide nothing')
    .optionsGroup('Output:')
    .addOption(
      new Option('-o, --output <format>', 'what standard output gets')
        .choices(['tree', 'json', 'none'])
        .default('tree'),
    )
    .option('--otlp', 'also export by OTLP; OTEL_EXPORTER_OTLP_* are honoured')
    .option('--otlp-endpoint <url>', 'export to there (implies --otlp)')
    .option('--dry-run', 'print the plan and its predicted cost; attach nothing')
    .option('--verbose', "show more of an error: its stack, the kernel's words")
    .optionsGroup('When to stop (Ctrl-C always does):')
    .option('-d, --duration <duration>', 'after this time', parseTimeout)
    .option('--max-spans <n>', 'after that many spans, with whole traces', parsePositive)
    .optionsGroup('Advanced:')
    .option(
      '--context-hops <n>',
      `wrappers of a context.Context to look through, up to ${MAX_CONTEXT_HOPS}`,
      parseHops,
      CONTEXT_HOPS,
    )
    .option(
      '--no-emulated-returns',
      'leave returns to the kernel: for other uprobes on the same instructions',
    )
    .option(
      '--return-trampoline',
      'native functions: see returns by replaced return addresses, whatever the process has mapped',
    )
    .addOption(
      new Option('--transport <how>', 'how records leave the kernel: perf is a buffer for each CPU')
        .choices(TRANSPORTS)
        .default('ring'),
    )
    .addOption(
      new Option('--ring-size <size>', 'buffer between the kernel and trace')
        .argParser(parseRingSize)
        .default(RING_BYTES, '8M'),
    );
}

/** All but the sinks, which belong to where the output goes. */
export function toTraceOptions(
  values: AttachValues,
  patterns: readonly string[],
  command: string[] | null,
): Omit<TraceOptions, 'sinks'> {
  return {
    selection: toSelection(values, command),
    symbols: [...(values.symbol ?? []), ...patterns],
    handlers: [],
    exclude: values.exclude ?? [],
    minDurationNs: values.minDuration,
    slowerThanNs: values.slowerThan ?? null,
    errorsOnly: values.errorsOnly ?? false,
    span: values.span ?? null,
    where: values.where ?? [],
    by: values.by ?? null,
    fold: values.fold,
    sample: values.sample,
    maxRate: values.maxRate,
    followForks: values.followForks,
    entryOnly: values.entryOnly ?? false,
    contextHops: values.contextHops,
    emulateReturns: values.emulatedReturns,
    returnTrampoline: values.returnTrampoline ?? false,
    args: values.arg ?? [],
    returns: values.return ?? false,
    stack: values.stack ?? false,
    waits: values.waits ?? false,
    gc: values.gc ?? false,
    allocations: values.allocations ?? false,
    errorText: values.errorText,
    errors: values.errors ?? null,
    redact: values.redact === false ? null : Array.isArray(values.redact) ? values.redact : [],
    roots: values.roots,
    unsampled: values.unsampled ?? false,
    maxFunctions: values.maxFunctions ?? null,
    maxOverhead: values.maxOverhead,
    transport: values.transport,
    ringBytes: values.ringSize,
  };
}
