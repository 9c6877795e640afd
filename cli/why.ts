/** `trace why`: what made the slow requests slow. */
import type { Notice } from '../src/sinks/sink.js';
import { COLOURS, PLAIN } from '../src/sinks/tree-format.js';
import { refuseShellExpanded } from '../src/symbols/suggest.js';
import { resolveExecutable } from '../src/targets/executable.js';
import { selectTargets } from '../src/targets/select.js';
import type { Criterion } from '../src/why/groups.js';
import { ownFunctions } from '../src/why/own-functions.js';
import { Stop } from './attach.js';
import { type Context, say, sayProgress } from './context.js';
import { OWN_FAILURE } from './errors.js';
import { Interrupts } from './interrupts.js';
import { type AttachValues, toTraceOptions } from './options.js';
import { countCalls, type Wanted } from './why-count.js';
import { type Answer, look } from './why-looks.js';

export interface WhyValues extends Omit<AttachValues, 'output' | 'span'> {
  output: 'text' | 'json';
  span?: string[];
}

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
    const wanted = await withSymbols(context, options);
    const counted = await countCalls(context, wanted);
    const { status, answer } = await look({
      context,
      values: rest,
      options: wanted,
      counted,
      asked: { criterion, ...wantedBy(span) },
      sinks: await noticesTo(context, rest, stop),
      stop,
      interrupts,
    });
    await print(context, values, answer);
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

async function noticesTo(
  context: Context,
  values: AttachValues,
  stop: Stop,
): Promise<Awaited<ReturnType<Context['openSinks']>>> {
  return context.openSinks(values, stop.request, ({ message, hint }: Notice) =>
    say(context, message, hint),
  );
}

async function print(context: Context, { output }: WhyValues, answer: Answer): Promise<void> {
  const { renderWhy, renderWhyJson } = await import('./why-text.js');
  const colours = context.stdout.isTTY && !process.env['NO_COLOR'];
  context.stdout.write(
    output === 'json' ? renderWhyJson(answer) : renderWhy(answer, colours ? COLOURS : PLAIN),
  );
}
