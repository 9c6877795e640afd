/** What is read from calls of functions of the kernel: from --arg, --return and --errors, by BTF. */
import type { KernelValue, Native } from '../native/native.js';
import type { Notice } from '../sinks/sink.js';
import { ErrorKind, MAX_VALUES, ValueKind, ValuePlace } from '../spans/records.generated.js';
import type { Shape } from '../spans/shapes.js';
import type { ValueRequest } from './function-values.js';
import type { ErrorPlan, PlannedFunction, PlannedValue } from './plan.js';
import { isSecret } from './secrets.js';
import { TEXT_LIMIT } from './value-paths.js';

/** Adds what is asked for to functions; returns what is to be said about it. */
export async function addKernelValues(
  native: Pick<Native, 'kernelValues'>,
  functions: readonly PlannedFunction[],
  names: string[],
  { args, redact, returns, errors }: ValueRequest,
): Promise<{ notices: Notice[]; claimed: ReadonlySet<string> }> {
  const claimed = new Set<string>();
  const tellsErrors = errors?.includes('negative') ?? false;
  const results = returns || tellsErrors;
  if ((args.length === 0 && !results) || functions.length === 0) return { notices: [], claimed };
  // What is asked for by name comes first: it may be text then.
  const paths = [...args].sort((a, b) => Number(a === '*') - Number(b === '*'));
  const found = await native.kernelValues(names, paths, results);
  for (const value of found) {
    const planned = functions[value.function];
    if (value.path !== '') claimed.add(value.path);
    if (!planned || value.reason !== null) continue;
    planned.parameters = value.parameters;
    if (value.path !== '') addArgument(planned, plannedValue(value, redact));
    else addResult(planned, value, returns, tellsErrors);
  }
  const refused = found.filter(({ reason, path }) => reason !== null && !isShort(path, args));
  const [first] = refused;
  if (!first) return { notices: [], claimed };
  const others = refused.length > 1 ? ` (and ${refused.length - 1} more)` : '';
  const notice = {
    code: 'VALUE_NOT_READABLE',
    message: `${first.path} of kernel:${names[first.function] ?? ''} cannot be read: it ${first.reason ?? ''}${others}`,
  };
  return { notices: [notice], claimed };
}

/** It came of "*", which means what can be read. */
const isShort = (path: string, args: readonly string[]): boolean => !args.includes(path);

function addArgument(planned: PlannedFunction, next: PlannedValue): void {
  const known = planned.values.arguments;
  if (known.length >= MAX_VALUES || known.some(({ attribute }) => attribute === next.attribute))
    return;
  planned.values = { ...planned.values, arguments: [...known, next] };
}

function addResult(
  planned: PlannedFunction,
  value: KernelValue,
  returns: boolean,
  tellsErrors: boolean,
): void {
  const { values } = planned;
  const result = { ...plannedValue(value, null), attribute: 'underspan.return.0' };
  planned.values = {
    ...values,
    results: returns && values.arguments.length < MAX_VALUES ? [result] : [],
    error: tellsErrors && value.kind === 'int' ? negative(result, value.size) : null,
  };
}

/** The kernel's own way to say what went wrong. */
const negative = (result: PlannedValue, size: number): ErrorPlan => ({
  kind: ErrorKind.NEGATIVE,
  place: ValuePlace.REGISTERS,
  at: 0,
  inMemory: false,
  offset: 0,
  size,
  value: 0n,
  read: { ...result, type: { shape: 'errno', skip: 0, size } },
  type: null,
});

function plannedValue(value: KernelValue, redact: ValueRequest['redact']): PlannedValue {
  const redacted = isSecret(value.path.split('.'), redact);
  const isText = value.kind === 'text';
  const kind = isText ? ValueKind.CSTRING : ValueKind.PLAIN;
  return {
    attribute: `underspan.arg.${value.path}`,
    type: shapeOf(value),
    redacted,
    plan: {
      // What is not to be shown is not read either.
      kind: redacted ? ValueKind.HIDDEN : kind,
      place: ValuePlace.REGISTERS,
      at: value.register,
      hasMethods: false,
      lengthAt: 0,
      size: value.size,
      limit: isText ? TEXT_LIMIT : 0,
      path: value.steps,
    },
  };
}

const shapeOf = ({ kind, size }: KernelValue): Shape =>
  kind === 'text' ? { shape: kind } : { shape: kind, skip: 0, size };
