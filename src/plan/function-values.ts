/** What is read from a function's calls: from --arg, --return and --stack to value plans. */
import type { Module, Parameter } from '../native/native.js';
import type { Notice } from '../sinks/sink.js';
import { MAX_VALUES, ValueKind, ValuePlace } from '../spans/records.generated.js';
import type { FunctionValues, PlannedValue } from './plan.js';
import { isSecret } from './secrets.js';
import { type Location, Types, type Value, valuesAt } from './value-paths.js';

export interface ValueRequest {
  /** Paths such as "order.ID"; "*" is all arguments. */
  args: readonly string[];
  returns: boolean;
  stack: boolean;
  /** Names that are secrets, besides the usual; null: none is. */
  redact: readonly string[] | null;
}

export const NO_VALUES: FunctionValues = {
  arguments: [],
  results: [],
  error: null,
  stackTrace: false,
};

export class ValuePlanner {
  /** What was asked for and cannot be read, by function. */
  readonly refused: { function: string; what: string; reason: string }[] = [];
  /** Paths of the request that some function has. */
  readonly found = new Set<string>();
  private readonly types: Types;

  constructor(
    module: Module,
    private readonly request: ValueRequest,
  ) {
    this.types = new Types(module);
  }

  async plan(name: string, parameters: readonly Parameter[] | null): Promise<FunctionValues> {
    const { request } = this;
    if (!parameters) return { ...NO_VALUES, stackTrace: request.stack };
    const inputs = parameters.filter(({ result }) => !result);
    const outputs = parameters.filter(({ result }) => result);
    const values: FunctionValues = {
      arguments: await this.arguments(name, inputs),
      results: request.returns ? await this.results(name, outputs) : [],
      error: errorOf(outputs),
      stackTrace: request.stack,
    };
    values.results = values.results.slice(0, MAX_VALUES - values.arguments.length);
    return values;
  }

  private async arguments(name: string, inputs: readonly Parameter[]): Promise<PlannedValue[]> {
    const planned: PlannedValue[] = [];
    for (const path of this.request.args) {
      const [first = '', ...rest] = path.split('.');
      for (const [index, parameter] of inputs.entries()) {
        const called = parameter.name === '' ? String(index) : parameter.name;
        const wanted = first === '*' ? !['_', '.this'].includes(called) : first === called;
        if (!wanted && first !== String(index)) continue;
        this.found.add(path);
        const values = await this.valuesOf(parameter, rest);
        planned.push(...this.named(name, `underspan.arg.${called}`, called, values));
      }
    }
    return unique(planned).slice(0, MAX_VALUES);
  }

  private async results(name: string, outputs: readonly Parameter[]): Promise<PlannedValue[]> {
    const planned: PlannedValue[] = [];
    for (const [index, parameter] of outputs.entries()) {
      // The error has its place in the span's status.
      if (parameter.type === 'error') continue;
      const called = /^~|^_|^$/.test(parameter.name) ? '' : parameter.name;
      const values = await this.valuesOf(parameter, []);
      planned.push(...this.named(name, `underspan.return.${index}`, called, values));
    }
    return planned;
  }

  private async valuesOf(parameter: Parameter, path: readonly string[]): Promise<Value[]> {
    const location = locationOf(parameter);
    if (!location) return [{ fields: [], reason: 'where it is passed is not known' }];
    return valuesAt(this.types, parameter.type, location, path);
  }

  private named(
    fn: string,
    prefix: string,
    called: string,
    values: readonly Value[],
  ): PlannedValue[] {
    return values.flatMap((value): PlannedValue[] => {
      const attribute = [prefix, ...value.fields].join('.');
      if ('reason' in value) {
        this.refused.push({ function: fn, what: attribute, reason: value.reason });
        return [];
      }
      const redacted = isSecret([called, ...value.fields], this.request.redact);
      // What is not to be shown is not read either.
      const plan = redacted ? { ...value.plan, kind: ValueKind.HIDDEN } : value.plan;
      return [{ attribute, type: value.type, redacted, plan }];
    });
  }
}

function unique(values: readonly PlannedValue[]): PlannedValue[] {
  return [...new Map(values.map((value) => [value.attribute, value])).values()];
}

function locationOf({ registers, stackOffset }: Parameter): Location | null {
  if (stackOffset !== null) return { place: ValuePlace.STACK, at: stackOffset, path: [0] };
  return registers.length > 0 ? { words: registers } : null;
}

/** The last result of type error, as Go programs have it. */
function errorOf(outputs: readonly Parameter[]): FunctionValues['error'] {
  const error = outputs.filter(({ type }) => type === 'error').at(-1);
  const [word] = error?.registers ?? [];
  if (word !== undefined) return { place: ValuePlace.REGISTERS, at: word };
  return error?.stackOffset != null ? { place: ValuePlace.STACK, at: error.stackOffset } : null;
}

/** What of the request cannot be had; one notice for all that is alike. */
export function valueNotices(planner: ValuePlanner, request: ValueRequest): Notice[] {
  const notices: Notice[] = request.args
    .filter((path) => path !== '*' && !planner.found.has(path))
    .map((path) => ({
      code: 'NO_ARGUMENT',
      message: `no function that is traced has an argument '${path.split('.')[0] ?? ''}'`,
      hint: 'arguments have the names of the source; without DWARF they are numbered from 0',
    }));
  const [first] = planner.refused;
  if (first) {
    const others = planner.refused.length - 1;
    notices.push({
      code: 'VALUE_NOT_READABLE',
      message:
        `${first.what} of ${first.function} cannot be read: ${first.reason}` +
        (others > 0 ? ` (and ${others} more)` : ''),
    });
  }
  return notices;
}
