/** The kinds of values in the configuration: what may be written, and how it is read. */
import { z } from 'zod';
import { UnderspanError } from '../../errors.js';
import {
  InvalidQuantity,
  parseDuration,
  parseRate,
  parseRingSize,
  parseBudget,
  parseShare,
  parseSize,
  parseTimeout,
} from '../../quantities.js';
import { parseSpanCondition } from '../../spans/span-condition.js';
import { inProcess, type Pattern, parsePattern } from '../../symbols/patterns.js';
import type { Address } from './config.js';
import { compileGlob, InvalidGlob } from './glob.js';

/** Long enough for any path that the kernel takes. */
const MAX_LENGTH = 4_096;

/**
 * An `error` of a schema here is what was expected, to go after "must be". Titles name the kind in
 * the reference.
 */
export const text = z
  .string({ error: 'text' })
  .min(1, { abort: true })
  .max(MAX_LENGTH, { abort: true });

export const flag = z.boolean({ error: 'true or false' });

export const count = z
  .int({ error: 'a whole number' })
  .min(1)
  .max(1_000_000_000)
  .meta({ title: 'number' });

export const countOrNone = z
  .int({ error: 'a whole number' })
  .min(0)
  .max(1_000_000_000)
  .meta({ title: 'number' });

/** Text that a function can refuse by throwing. */
function checked(title: string, check: (text: string) => string | null) {
  return text.meta({ title }).check((context) => {
    const problem = check(context.value);
    if (problem !== null) {
      const message = `'${context.value}' ${problem}`;
      context.issues.push({ code: 'custom', message, input: context.value });
    }
  });
}

function globProblem(text: string): string | null {
  try {
    compileGlob(text);
    return null;
  } catch (error) {
    if (!(error instanceof InvalidGlob)) throw error;
    return error.message;
  }
}

export const glob = checked('glob', globProblem);

export const executable = checked('glob', (path) =>
  /^[/*]/.test(path)
    ? globProblem(path)
    : `is no absolute path, and would match nothing; write '*/${path.replace(/^(\.{0,2}\/)+/, '')}'`,
);

export const owner = checked('glob', (name) =>
  /[/*?[]/.test(name)
    ? globProblem(name)
    : `has no kind, and would match nothing; write 'Deployment/${name}' or '*/${name}'`,
);

/** Text that a parser of the command line can refuse. */
const parsed = (title: string, parse: (text: string) => unknown) =>
  text.meta({ title }).check((context) => {
    try {
      parse(context.value);
    } catch (error) {
      if (!(error instanceof UnderspanError)) throw error;
      const message = error.hint ? `${error.message}; ${error.hint}` : error.message;
      context.issues.push({ code: 'custom', message, input: context.value });
    }
  });

const patternThat = (check: (pattern: Pattern) => unknown) =>
  parsed('pattern', (text) => check(parsePattern(text)));

export const spanName = parsed('pattern', (name) => parseSpanCondition(name, []));
export const condition = parsed('condition', (term) => parseSpanCondition(null, [term]));

export const pattern = patternThat(() => undefined);
/** Of a function of the program, not of the kernel. */
export const programPattern = patternThat(inProcess);

/** One may be written without the list. */
export function listOf<T extends z.ZodType<string, string>>(item: T) {
  return z
    .union([item, z.array(item).min(1)], { error: 'text, or a list of texts' })
    .transform((value: string | string[]) => (Array.isArray(value) ? value : [value]));
}

/** `false`, or what else may be written. */
export function orFalse<T extends z.ZodType>(schema: T, expected: string) {
  return z.union([z.literal(false), schema], { error: `${expected}, or false` });
}

/** A quantity that YAML takes for a number where it has no unit. */
function quantity<T>(title: string, example: string, parse: (text: string) => T) {
  const article = title.startsWith('a') ? 'an' : 'a';
  return z
    .union([z.string(), z.number()], { error: `${article} ${title} such as ${example}` })
    .meta({ title, examples: [example] })
    .transform((value, context): T => {
      try {
        return parse(String(value));
      } catch (error) {
        if (!(error instanceof InvalidQuantity)) throw error;
        const message = `'${value}' ${error.message}`;
        context.issues.push({ code: 'custom', message, input: value });
        return z.NEVER;
      }
    });
}

export const durationNs = quantity('duration', '1ms', parseDuration);
export const durationMs = quantity('duration', '10m', parseTimeout);
export const share = quantity('share', '10%', parseShare);
export const rate = quantity('rate', '100', parseRate);
export const size = quantity('size', '64MiB', parseSize);
export const ringSize = quantity('size', '8MiB', parseRingSize);

/** A share or a time that would leave nothing. */
const positive = (parse: (text: string) => number) => (text: string) => {
  const value = parse(text);
  if (value === 0) throw new InvalidQuantity('would allow nothing', 'more');
  return value;
};

export const budget = quantity('share', '5%', parseBudget);
export const limitMs = quantity('duration', '10m', positive(parseTimeout));

function parseAddress(text: string): Address {
  const match = /^(\[[0-9a-f:.]+\]|[^[\]:/\s]*):(\d{1,5})$/i.exec(text);
  const port = Number(match?.[2] ?? Number.NaN);
  if (!match || port > 65_535) {
    throw new InvalidQuantity(
      'is no address to listen on',
      "':9464' for all interfaces, or '127.0.0.1:9464'",
    );
  }
  return { host: match[1]?.replace(/[[\]]/g, '') || '0.0.0.0', port };
}

export const address = quantity('address', ':9464', parseAddress);

export const url = checked('URL', (value) =>
  /^https?:\/\/[^/\s]+/.test(value) && URL.canParse(value)
    ? null
    : "is no URL; write one such as 'http://collector:4317'",
);

export const path = checked('path', (value) =>
  value.startsWith('/') ? null : 'is no absolute path; it must begin with a slash',
);
