/** Options of `trace why`: those of `trace attach` that make sense for it, and which requests. */
import { type Command, Option } from 'commander';
import { CONTEXT_HOPS, MAX_OVERHEAD, RING_BYTES } from './options.js';
import {
  collect,
  parseBudget,
  parseDuration,
  parsePositive,
  parseRingSize,
  parseShare,
  parseTimeout,
} from './values.js';

const text = (value: string): string => value;
const DURATION_MS = 30_000;

export function addWhy(command: Command): Command {
  // What `trace attach` lets one choose and is settled here.
  for (const [name, value] of Object.entries(SETTLED)) command.setOptionValue(name, value);
  return command
    .optionsGroup('Which requests (by default those that are slow beside the others):')
    .option(
      '--span <name>',
      "of this name, as the program's own spans have it; * is anything",
      collect(text),
    )
    .option('--slower-than <duration>', 'those that took longer', parseDuration)
    .option('--errors-only', 'those in which something failed')
    .option('--unsampled', "also where the program's own trace is not sampled")
    .option('--sample <share>', 'share of traces to look at: 0.1 or 10%', parseShare, 1)
    .optionsGroup("Which functions (by default the program's own):")
    .option('--symbol <pattern>', 'functions to look at; the same as a PATTERN', collect(text))
    .option('--exclude <pattern>', 'not these', collect(text))
    .option('--max-functions <n>', 'look at no more functions at once', parsePositive)
    .option(
      '--max-overhead <share>',
      'what tracing may cost a target, as a share of one CPU; 100% is any cost',
      parseBudget,
      MAX_OVERHEAD,
    )
    .option(
      '--arg <path>',
      "an argument that slow requests may have in common: 'order.Customer'; '*' is all",
      collect(text),
    )
    .option(
      '--redact <name>',
      'hide values of this name, besides those that look like secrets',
      collect(text),
    )
    .option('--no-redact', 'hide nothing')
    .option('--no-follow-forks', 'not its children')
    .optionsGroup('Output:')
    .addOption(
      new Option('-o, --output <format>', 'what standard output gets')
        .choices(['text', 'json'])
        .default('text'),
    )
    .option('--otlp', 'also export what is seen by OTLP; OTEL_EXPORTER_OTLP_* are honoured')
    .option('--otlp-endpoint <url>', 'export to there (implies --otlp)')
    .option('--verbose', "show more of an error: its stack, the kernel's words")
    .addOption(
      new Option(
        '-d, --duration <duration>',
        'how long to look; a closer look takes the last third',
      )
        .argParser(parseTimeout)
        .default(DURATION_MS, '30s'),
    )
    .addOption(
      new Option('--ring-size <size>', 'buffer between the kernel and trace')
        .argParser(parseRingSize)
        .default(RING_BYTES, '8M'),
    );
}

const SETTLED = {
  minDuration: 0,
  maxRate: 0,
  contextHops: CONTEXT_HOPS,
  emulatedReturns: true,
  errorText: true,
  roots: true,
  waits: true,
  allocations: true,
  // How often something is called is one of the answers.
  fold: 0,
  transport: 'ring',
};
