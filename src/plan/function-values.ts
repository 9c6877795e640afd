/** What is read from a function's calls: from --arg, --return and --stack to value plans. */
import type { GoType, Module, Parameter } from '../native/native.js';
import type { Notice } from '../sinks/sink.js';
import { ErrorKind, MAX_VALUES, ValueKind, ValuePlace } from '../spans/records.generated.js';
import type { Shape } from '../spans/shapes.js';
import type { ErrorMode } from './error-modes.js';
import type { FunctionValues, PlannedValue, ValuePlan } from './plan.js';
import { isSecret } from './secrets.js';
import { type Location, Types, type Unreadable, valuesAt } from './value-paths.js';

export interface ValueRequest {
  /** Paths such as "order.ID"; "*" is all arguments. */
  args: readonly string[];
  returns: boolean;
  stack: boolean;
  /** Names that are secrets, besides the usual; null: none is. */
  redact: readonly string[] | null;
  /** What results of C, C++ and Rust are errors; null: Rust's Err alone. */
  errors: readonly ErrorMode[] | null;
}

/** A value that can be read, or why it cannot. */
export type Found = { fields: string[]; type: GoType | Shape; plan: ValuePlan } | Unreadable;

export const NO_VALUES: FunctionValues = {
  arguments: [],
  results: [],
  error: null,
  stackTrace: false,
};

/** From a request and a function's parameters, in whatever language, to what is read of them. */
export abstract class ParameterPlanner<P extends { name: string }> {
  /** What was asked for and cannot be read, by function. */
  readonly refused: { function: string; what: string; reason: string }[] = [];
  /** Paths of the request that some function has. */
  readonly found = new Set<string>();

  constructor(protected readonly request: ValueRequest) {}

  protected abstract valuesOf(parameter: P, path: readonly string[]): Promise<Found[]>;

  protected async arguments(name: string, inputs: readonly P[]): Promise<PlannedValue[]> {
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

  protected named(
    fn: string,
    prefix: string,
    called: string,
    values: readonly Found[],
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

export class ValuePlanner extends ParameterPlanner<Parameter> {
  private readonly types: Types;

  constructor(module: Module, request: ValueRequest) {
    super(request);
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

  protected async valuesOf(parameter: Parameter, path: readonly string[]): Promise<Found[]> {
    const location = locationOf(parameter);
    if (!location) return [{ fields: [], reason: 'where it is passed is not known' }];
    return valuesAt(this.types, parameter.type, location, path);
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
  const plan = {
    kind: ErrorKind.INTERFACE,
    inMemory: false,
    offset: 0,
    size: 0,
    value: 0n,
    read: null,
    type: null,
  };
  if (word !== undefined) return { ...plan, place: ValuePlace.REGISTERS, at: word };
  return error?.stackOffset != null
    ? { ...plan, place: ValuePlace.STACK, at: error.stackOffset }
    : null;
}

/** What of the request cannot be had; one notice for all that is alike. */
export function valueNotices({ refused }: Pick<ValuePlanner, 'refused'>): Notice[] {
  const [first] = refused;
  if (!first) return [];
  const others = refused.length - 1;
  return [
    {
      code: 'VALUE_NOT_READABLE',
      message:
        `${first.what} of ${first.function} cannot be read: ${first.reason}` +
        (others > 0 ? ` (and ${others} more)` : ''),
    },
  ];
}
