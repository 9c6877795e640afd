/** What is read from calls of functions in C, C++ and Rust: from --arg, --return and --errors. */
import type { Module, NativeFunction, NativeParameter, NativeType } from '../native/native.js';
import type { Notice } from '../sinks/sink.js';
import { ErrorKind, MAX_VALUES, ValuePlace } from '../spans/records.generated.js';
import type { ErrorMode } from './error-modes.js';
import { TEXT_FIELDS } from './error-texts.js';
import {
  type Found,
  NO_VALUES,
  ParameterPlanner,
  valueNotices,
  type ValueRequest,
} from './function-values.js';
import {
  type Location,
  locationOf,
  type NativeValue,
  nativeValuesAt,
  within,
} from './native-paths.js';
import { NativeTypes } from './native-shapes.js';
import type { ErrorPlan, FunctionValues, PlannedValue } from './plan.js';

const DEFAULT_ERRORS: readonly ErrorMode[] = ['err'];
const WORD = 8;

/** For each function, by name and address, what is read of its calls; and what cannot be. */
export async function nativeValues(
  module: Module,
  request: ValueRequest,
  names: readonly string[],
  addresses: Float64Array,
): Promise<{ values: FunctionValues[]; notices: Notice[]; claimed: ReadonlySet<string> }> {
  const functions = await module.nativeFunctions(addresses);
  const planner = new NativeValuePlanner(module, request);
  const values: FunctionValues[] = [];
  for (const [index, name] of names.entries()) {
    const fn = functions[index] ?? null;
    // Without DWARF there are thousands of these.
    values.push(fn ? await planner.plan(name, fn) : planner.unknown(name));
  }
  const notices = valueNotices(planner);
  // Without frame pointers, which most of these are built without, it would be a wrong one.
  if (request.stack) {
    notices.push({ code: 'NO_STACK', message: 'of C, C++ and Rust no stacks are read' });
  }
  return { values, notices, claimed: planner.found };
}

export class NativeValuePlanner extends ParameterPlanner<NativeParameter> {
  private readonly types: NativeTypes;

  constructor(module: Module, request: ValueRequest) {
    super(request);
    this.types = new NativeTypes(module);
  }

  /** Of a function that DWARF does not know. */
  unknown(name: string): FunctionValues {
    this.refuseUnknown(name);
    return NO_VALUES;
  }

  async plan(name: string, fn: NativeFunction): Promise<FunctionValues> {
    const { request } = this;
    const inputs = fn.parameters.filter(({ result }) => !result);
    const result = fn.parameters.find((each) => each.result);
    const args = await this.arguments(name, inputs);
    const results = result && request.returns ? await this.result(name, result) : [];
    return {
      arguments: args,
      results: results.slice(0, MAX_VALUES - args.length),
      error: result ? await this.error(name, result) : null,
      stackTrace: false,
    };
  }

  private refuseUnknown(name: string): void {
    const { args, returns, errors } = this.request;
    // It may have any of them.
    for (const path of args) this.found.add(path);
    const what = args.length > 0 ? 'an argument' : returns ? 'the result' : 'an error';
    if (args.length === 0 && !returns && !errors) return;
    this.refused.push({
      function: name,
      what,
      reason: 'there is no debug information (DWARF) about the function',
    });
  }

  protected async valuesOf(parameter: NativeParameter, path: readonly string[]): Promise<Found[]> {
    const location = locationOf(parameter);
    if (typeof location === 'string') return [{ fields: [...path], reason: location }];
    return found(await nativeValuesAt(this.types, parameter.type, location, path));
  }

  private async result(name: string, result: NativeParameter): Promise<PlannedValue[]> {
    const values = await this.valuesOf(result, []);
    return this.named(name, 'underspan.return.0', '', values);
  }

  private async error(name: string, result: NativeParameter): Promise<ErrorPlan | null> {
    const modes = this.request.errors ?? DEFAULT_ERRORS;
    const type = await this.types.describe(result.type);
    const mode = modes.find((each) => applies(each, type));
    if (!mode) return null;
    const location = locationOf(result);
    const refuse = (reason: string): null => {
      // Nobody has asked for what is looked at by default.
      if (this.request.errors) this.refused.push({ function: name, what: 'its error', reason });
      return null;
    };
    if (typeof location === 'string') return refuse(location);
    if (mode === 'err') return (await this.err(type, location)) ?? refuse('what tells is not kept');
    const told = toldBy(location, 0, type.size);
    if (!told) return refuse('it is in no register that can be read');
    const [value] = found(await nativeValuesAt(this.types, result.type, location, []));
    const read = mode === 'negative' && value && 'plan' in value ? planned(value) : null;
    const kind = mode === 'negative' ? ErrorKind.NEGATIVE : ErrorKind.EQUAL;
    return { ...told, kind, value: 0n, read, type: null };
  }

  /** Rust's Result: which variant it is tells, and what its Err holds is the text. */
  private async err(type: NativeType, location: Location): Promise<ErrorPlan | null> {
    const err = type.variants.find((each) => each.name === 'Err');
    const ok = type.variants.find((each) => each.name === 'Ok');
    if (!type.discriminant || !err || !ok) return null;
    const tag = await this.types.describe(type.discriminant.type);
    const told = toldBy(location, type.discriminant.offset, tag.size);
    const value = err.value ?? ok.value;
    if (!told || value === null) return null;
    const [content] = (await this.types.describe(err.type)).fields;
    if (!content) return null;
    const { size } = await this.types.describe(content.type);
    const at = within(location, err.offset + content.offset, size);
    return {
      ...told,
      kind: err.value === null ? ErrorKind.UNEQUAL : ErrorKind.EQUAL,
      value: BigInt.asUintN(8 * tag.size, value),
      read: await this.text(content.type, at),
      type: await this.types.nameOf(content.type),
    };
  }

  /** The text of an error: it is one, is told by its name or number, or has a field of it. */
  private async text(id: string, location: Location): Promise<PlannedValue | null> {
    const type = await this.types.describe(id);
    const field = type.fields.find((each) => TEXT_FIELDS.test(each.name));
    if (type.kind === 'struct' && !field) return null;
    const path = type.kind === 'struct' && field ? [field.name] : [];
    const values = found(await nativeValuesAt(this.types, id, location, path));
    const [value] = values;
    if (values.length !== 1 || !value || !('plan' in value)) return null;
    const isText = 'shape' in value.type && value.type.shape === 'text';
    return path.length > 0 && !isText ? null : planned(value);
  }
}

const planned = ({ type, plan }: Extract<Found, { plan: unknown }>): PlannedValue => ({
  attribute: '',
  type,
  redacted: false,
  plan,
});

const found = (values: readonly NativeValue[]): Found[] =>
  values.map((value) =>
    'reason' in value ? value : { fields: value.fields, type: value.shape, plan: value.plan },
  );

function applies(mode: ErrorMode, type: NativeType): boolean {
  switch (mode) {
    case 'negative':
      return type.kind === 'int' && type.size <= WORD;
    case 'null':
      return type.kind === 'pointer';
    case 'err':
      return type.kind === 'variant' && /^Result</.test(type.name);
  }
}

type Told = Pick<ErrorPlan, 'place' | 'at' | 'inMemory' | 'offset' | 'size'>;

/** Where the number is that tells of an error: in a register, or in memory behind one. */
function toldBy(location: Location, offset: number, size: number): Told | null {
  if (![1, 2, 4, WORD].includes(size)) return null;
  const place = ValuePlace.REGISTERS;
  if (!('pieces' in location)) {
    const { at, path } = location;
    const [start = 0] = path;
    if (location.place !== place || path.length !== 1) return null;
    return { place, at, inMemory: true, offset: start + offset, size };
  }
  const piece = location.pieces.find(
    (each) => each.offset <= offset && offset + size <= each.offset + each.size,
  );
  // SSE registers count from 100.
  if (!piece || piece.register >= 100) return null;
  return { place, at: piece.register, inMemory: false, offset: offset - piece.offset, size };
}
