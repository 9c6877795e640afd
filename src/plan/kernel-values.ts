/** What is read from calls of functions of the kernel: from --arg to value plans, by BTF. */
import type { GoType, KernelValue, Native } from '../native/native.js';
import type { Notice } from '../sinks/sink.js';
import { MAX_VALUES, ValueKind, ValuePlace } from '../spans/records.generated.js';
import type { ValueRequest } from './function-values.js';
import type { PlannedFunction, PlannedValue } from './plan.js';
import { isSecret } from './secrets.js';

/** Adds the arguments that are asked for to functions; returns what is to be said about it. */
export async function addKernelValues(
  native: Pick<Native, 'kernelValues'>,
  functions: readonly PlannedFunction[],
  names: string[],
  { args, redact }: ValueRequest,
): Promise<{ notices: Notice[]; claimed: ReadonlySet<string> }> {
  const claimed = new Set<string>();
  if (args.length === 0 || functions.length === 0) return { notices: [], claimed };
  const found = await native.kernelValues(names, [...args]);
  const refused = found.filter(({ reason, path }) => reason !== null && !isShort(path, args));
  for (const value of found) {
    claimed.add(value.path);
    const planned = functions[value.function];
    if (!planned || value.reason !== null) continue;
    planned.parameters = value.parameters;
    const known = planned.values.arguments;
    const next = plannedValue(value, redact);
    if (known.length >= MAX_VALUES || known.some((one) => one.attribute === next.attribute))
      continue;
    planned.values = { ...planned.values, arguments: [...known, next] };
  }
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

function plannedValue(value: KernelValue, redact: ValueRequest['redact']): PlannedValue {
  const redacted = isSecret(value.path.split('.'), redact);
  return {
    attribute: `underspan.arg.${value.path}`,
    type: typeOf(value),
    redacted,
    plan: {
      kind: redacted ? ValueKind.HIDDEN : ValueKind.PLAIN,
      place: ValuePlace.REGISTERS,
      at: value.register,
      hasMethods: false,
      lengthAt: 0,
      size: value.size,
      limit: 0,
      path: value.steps,
    },
  };
}

const typeOf = ({ type, kind, size }: KernelValue): GoType => ({
  name: type,
  kind,
  size,
  element: null,
  key: null,
  count: null,
  fields: [],
  methods: [],
});
