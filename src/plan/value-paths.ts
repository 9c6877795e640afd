/** From a type and where it lies to the values that can be read of it. */
import type { GoType, Module } from '../native/native.js';
import {
  MAX_VALUE_BYTES,
  MAX_VALUE_PATH,
  ValueKind,
  ValuePlace,
} from '../spans/records.generated.js';
import type { ValuePlan } from './plan.js';

/** ABI words of a value in registers, or a way through memory; see struct value_plan. */
export type Location = { words: number[] } | { place: number; at: number; path: number[] };

export interface Readable {
  /** Names of fields that lead to it, from the parameter on. */
  fields: string[];
  type: GoType;
  plan: ValuePlan;
}

/** What cannot be read, and why. */
export interface Unreadable {
  fields: string[];
  reason: string;
}

export type Value = Readable | Unreadable;

/** Go's floats are passed in these; a uprobe sees the integer registers alone. */
const FIRST_FLOAT = 100;
const REGISTERS = 9;
/** Most bytes of text, or elements, of one value. */
export const TEXT_LIMIT = 128;
export const ELEMENTS_LIMIT = 64;
const DEEPEST_STRUCT = 8;

/** Describes types, each once. */
export class Types {
  private readonly known = new Map<string, Promise<GoType | null>>();

  constructor(private readonly module: Module) {}

  describe(name: string): Promise<GoType | null> {
    let found = this.known.get(name);
    if (!found) {
      found = this.module.describeTypes([name]).then(([type]) => type ?? null);
      this.known.set(name, found);
    }
    return found;
  }

  /** How many ABI words it takes; null where it is not passed in registers, or not known. */
  async words(name: string, depth = 0): Promise<number | null> {
    const type = await this.describe(name);
    if (!type || depth > DEEPEST_STRUCT) return null;
    switch (type.kind) {
      case 'string':
      case 'interface':
      case 'complex':
        return 2;
      case 'slice':
        return 3;
      case 'array':
        if (type.count === 0) return 0;
        return type.count === 1 && type.element ? this.words(type.element, depth + 1) : null;
      case 'struct': {
        let sum = 0;
        for (const field of type.fields) {
          const words = await this.words(field.type, depth + 1);
          if (words === null) return null;
          sum += words;
        }
        return sum;
      }
      default:
        return 1;
    }
  }
}

/** The values at the end of a path of field names: one, or the fields of a struct. */
export async function valuesAt(
  types: Types,
  typeName: string,
  location: Location,
  path: readonly string[],
  fields: string[] = [],
): Promise<Value[]> {
  const type = await types.describe(typeName);
  if (!type) return [{ fields, reason: `nothing is known of the type ${typeName}` }];
  const [name, ...rest] = path;
  const isTime = type.name === 'time.Time';
  if (type.kind === 'pointer' && type.element) {
    const target = await types.describe(type.element);
    if (target && (name !== undefined || target.kind === 'struct')) {
      return valuesAt(types, type.element, followed(location), path, fields);
    }
  }
  if (type.kind === 'struct' && name !== undefined) {
    return fieldOf(types, type, location, name, rest, fields);
  }
  if (name !== undefined) return [{ fields, reason: `${type.name} has no field ${name}` }];
  if (type.kind === 'struct' && !isTime) {
    const all = await Promise.all(
      type.fields.map((field) => fieldOf(types, type, location, field.name, null, fields)),
    );
    return all.flat();
  }
  const element = type.element === null ? null : await types.describe(type.element);
  const plan = planOf(type, location, element?.size ?? 0);
  return [typeof plan === 'string' ? { fields, reason: plan } : { fields, type, plan }];
}

/** `rest`: null if only what is no struct itself is wanted. */
async function fieldOf(
  types: Types,
  type: GoType,
  location: Location,
  name: string,
  rest: readonly string[] | null,
  fields: string[],
): Promise<Value[]> {
  const field = type.fields.find((each) => each.name === name);
  const path = [...fields, name];
  if (!field) {
    const names = type.fields.map((each) => each.name).join(', ');
    return [{ fields: path, reason: `${type.name} has no field ${name}; it has ${names}` }];
  }
  const at = await within(types, type, location, field);
  if (!at) return [{ fields: path, reason: 'where it is passed is not known' }];
  if (rest !== null) return valuesAt(types, field.type, at, rest, path);
  const inner = await types.describe(field.type);
  if (!inner) return [];
  const isLeaf = inner.name === 'time.Time' || !['struct', 'pointer'].includes(inner.kind);
  return isLeaf ? valuesAt(types, field.type, at, [], path) : [];
}

/** Where a field of a struct lies. */
async function within(
  types: Types,
  type: GoType,
  location: Location,
  field: GoType['fields'][number],
): Promise<Location | null> {
  if (!('words' in location)) return { ...location, path: plus(location.path, field.offset) };
  let before = 0;
  for (const each of type.fields) {
    const words = await types.words(each.type);
    if (words === null) return null;
    if (each === field) return { words: location.words.slice(before, before + words) };
    before += words;
  }
  return null;
}

const plus = (path: readonly number[], offset: number): number[] => [
  ...path.slice(0, -1),
  (path.at(-1) ?? 0) + offset,
];

/** Where a pointer leads. */
function followed(location: Location): Location {
  if ('words' in location) {
    return { place: ValuePlace.REGISTERS, at: location.words[0] ?? FIRST_FLOAT, path: [0] };
  }
  return { ...location, path: [...location.path, 0] };
}

/** How a value without parts is read, or why it cannot be. */
function planOf(type: GoType, location: Location, elementSize: number): ValuePlan | string {
  const place =
    'words' in location
      ? { place: ValuePlace.REGISTERS, at: location.words[0] ?? 0, path: [] }
      : location;
  if (place.at >= REGISTERS && place.place === ValuePlace.REGISTERS) {
    return 'it is passed in a floating-point register, which cannot be read';
  }
  if (place.path.length > MAX_VALUE_PATH) return 'too many pointers lead to it';
  const plan = {
    ...place,
    hasMethods: false,
    size: Math.min(type.size, MAX_VALUE_BYTES),
    limit: 0,
    lengthAt: 8,
  };
  switch (type.kind) {
    case 'string':
      return { ...plan, kind: ValueKind.STRING, limit: TEXT_LIMIT };
    case 'slice':
      if (type.element === 'uint8' || type.element === 'byte') {
        return { ...plan, kind: ValueKind.STRING, limit: TEXT_LIMIT };
      }
      return { ...plan, kind: ValueKind.SLICE, size: elementSize, limit: ELEMENTS_LIMIT };
    case 'map':
      return { ...plan, kind: ValueKind.MAP };
    case 'interface': {
      const hasMethods = type.methods.length > 0 || !/^(any|interface ?\{\s*\})$/.test(type.name);
      const limit = type.name === 'error' ? TEXT_LIMIT : 0;
      return { ...plan, kind: ValueKind.INTERFACE, hasMethods, limit };
    }
    default:
      return { ...plan, kind: ValueKind.PLAIN };
  }
}
