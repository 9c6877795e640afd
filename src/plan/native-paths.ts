/** From a type of C, C++ or Rust and where it lies to the values that can be read of it. */
import type { NativeField, NativeParameter, NativeType } from '../native/native.js';
import {
  MAX_VALUE_BYTES,
  MAX_VALUE_PATH,
  ValueKind,
  ValuePlace,
} from '../spans/records.generated.js';
import type { Shape } from '../spans/shapes.js';
import {
  FIRST_FLOAT,
  isBytes,
  isCString,
  MOST_WORDS,
  type NativeTypes,
  optionalText,
  plainShape,
  shapeOf,
  WORD,
} from './native-shapes.js';
import { variantInRegisters, variantPart } from './native-variants.js';
import type { ValuePlan } from './plan.js';
import { ELEMENTS_LIMIT, TEXT_LIMIT } from './value-paths.js';

type Piece = NativeParameter['pieces'][number];

/** In registers, piece by piece; or at the end of a way through memory, see struct value_plan. */
export type Location = { pieces: Piece[] } | { place: number; at: number; path: number[] };

export type NativeValue =
  { fields: string[]; shape: Shape; plan: ValuePlan } | { fields: string[]; reason: string };

const MOST_STACK = 0xffff;
const DEEPEST = 8;

export function locationOf(parameter: NativeParameter): Location | string {
  const { pieces, stackOffset, isAddress, problem } = parameter;
  if (problem !== null) return problem;
  if (stackOffset !== null) {
    if (stackOffset > MOST_STACK) return 'it lies too far up the stack';
    return { place: ValuePlace.STACK, at: stackOffset, path: isAddress ? [0, 0] : [0] };
  }
  return isAddress ? (followed({ pieces }) ?? 'where it is passed is not known') : { pieces };
}

/** Where a part of a value lies. */
export function within(location: Location, offset: number, size: number): Location {
  if (!('pieces' in location)) {
    const { path } = location;
    return { ...location, path: [...path.slice(0, -1), (path.at(-1) ?? 0) + offset] };
  }
  const pieces = location.pieces
    .map((piece) => ({ ...piece, offset: piece.offset - offset }))
    .filter((piece) => piece.offset < size && piece.offset + piece.size > 0);
  return { pieces };
}

/** Where a pointer leads; null if it is in no integer register as a whole. */
export function followed(location: Location): Location | null {
  if (!('pieces' in location)) return { ...location, path: [...location.path, 0] };
  const [piece] = location.pieces;
  if (piece?.offset !== 0 || piece.size < WORD || piece.register >= FIRST_FLOAT) return null;
  return { place: ValuePlace.REGISTERS, at: piece.register, path: [0] };
}

/** The values at the end of a path of field names: one, or the fields of a record. */
export async function nativeValuesAt(
  types: NativeTypes,
  id: string,
  location: Location,
  path: readonly string[],
  fields: string[] = [],
  depth = 0,
): Promise<NativeValue[]> {
  const refuse = (reason: string): NativeValue[] => [{ fields, reason }];
  const type = await types.describe(id);
  if (type.problem !== null) return refuse(type.problem);
  if (depth > 2 * DEEPEST) return refuse('it is nested too deep');
  const [name] = path;
  if ((type.kind === 'pointer' || type.kind === 'reference') && type.element !== null) {
    const target = await types.describe(type.element);
    const leads =
      type.kind === 'reference' ? isKnown(target) : isRecord(target) || name !== undefined;
    if (leads && !isCString(type, target)) {
      const at = followed(location);
      if (!at) return refuse('where it is passed is not known');
      return nativeValuesAt(types, type.element, at, path, fields, depth + 1);
    }
  }
  if (name !== undefined && type.kind !== 'variant') {
    const found = await fieldOf(types, type, name, location, depth);
    const at = [...fields, name];
    if (!found) return [{ fields: at, reason: noField(type, name) }];
    if (found.field.bits) return [await bitsAt(types, found.field, found.at, path.slice(1), at)];
    return nativeValuesAt(types, found.field.type, found.at, path.slice(1), at, depth + 1);
  }
  if (type.kind === 'union') return refuse(`${type.name} is a union: name one of its fields`);
  if (type.kind === 'struct') return leavesOf(types, type, location, fields, depth);
  const at = [...fields, ...path];
  const shape =
    name === undefined ? await shapeOf(types, type) : await variantPart(types, type, path);
  if (typeof shape === 'string') return [{ fields: at, reason: shape }];
  if (!shape) return refuse(`values of the type ${type.name} are not read`);
  if (shape.shape === 'variant' && 'pieces' in location) {
    const found = variantInRegisters(shape, location.pieces);
    return typeof found === 'string' ? refuse(found) : [{ fields: at, ...found }];
  }
  const plan = await planOf(types, type, location);
  if (typeof plan === 'string') return refuse(plan);
  return [{ fields: at, shape: withSkip(shape, plan.skip), plan: plan.plan }];
}

const isKnown = ({ kind }: NativeType): boolean => !['unknown', 'void', 'func'].includes(kind);
const isRecord = ({ kind }: NativeType): boolean => ['struct', 'union', 'string'].includes(kind);

function noField(type: NativeType, name: string): string {
  const names = type.fields.map((field) => field.name).filter((each) => each !== '');
  return `${type.name} has no field ${name}${names.length > 0 ? `; it has ${names.join(', ')}` : ''}`;
}

/** Bytes that hold a field. */
const sizeOf = async (types: NativeTypes, { type, bits }: NativeField): Promise<number> =>
  bits ? Math.ceil((bits.offset + bits.size) / 8) : (await types.describe(type)).size;

async function bitsAt(
  types: NativeTypes,
  field: NativeField,
  location: Location,
  path: readonly string[],
  fields: string[],
): Promise<NativeValue> {
  const type = await types.describe(field.type);
  const [name] = path;
  if (name !== undefined) return { fields: [...fields, name], reason: noField(type, name) };
  const shape = plainShape(type);
  if (!field.bits || !shape || shape.shape === 'float' || shape.shape === 'pointer') {
    return { fields, reason: `bits of the type ${type.name} are not read` };
  }
  const size = await sizeOf(types, field);
  const found = beginning(location, size);
  if (typeof found === 'string') return { fields, reason: found };
  const { plan, skip } = found;
  // Bits of a char are a number.
  const number = shape.shape === 'char' ? { ...shape, shape: 'int' as const } : shape;
  return {
    fields,
    shape: { ...number, skip, size, bits: field.bits },
    plan: { ...plan, kind: ValueKind.PLAIN, size: skip + size },
  };
}

/** A field by name, also of base classes and unnamed members. */
async function fieldOf(
  types: NativeTypes,
  type: NativeType,
  name: string,
  location: Location,
  depth: number,
): Promise<{ field: NativeField; at: Location } | null> {
  const own = type.fields.find((field) => field.name === name);
  if (own) {
    return { field: own, at: within(location, own.offset, await sizeOf(types, own)) };
  }
  for (const field of type.fields) {
    if (!field.embedded || depth > DEEPEST) continue;
    const inner = await types.describe(field.type);
    const at = within(location, field.offset, inner.size);
    const found = await fieldOf(types, inner, name, at, depth + 1);
    if (found) return found;
  }
  return null;
}

/** What a record holds that is no record itself, nor leads elsewhere. */
async function leavesOf(
  types: NativeTypes,
  type: NativeType,
  location: Location,
  fields: string[],
  depth: number,
): Promise<NativeValue[]> {
  const values = await Promise.all(
    type.fields.map(async (field): Promise<NativeValue[]> => {
      const inner = await types.describe(field.type);
      const at = within(location, field.offset, await sizeOf(types, field));
      if (inner.size === 0) return [];
      if (field.bits) return [await bitsAt(types, field, at, [], [...fields, field.name])];
      if (field.embedded) {
        if (inner.kind !== 'struct' || depth > DEEPEST) return [];
        return leavesOf(types, inner, at, fields, depth + 1);
      }
      const target = inner.element === null ? null : await types.describe(inner.element);
      const leads = inner.kind === 'pointer' && !(target && isCString(inner, target));
      if (leads || ['struct', 'union', 'reference'].includes(inner.kind) || !isKnown(inner)) {
        return [];
      }
      return nativeValuesAt(types, field.type, at, [], [...fields, field.name], depth + 1);
    }),
  );
  return values.flat();
}

const withSkip = (shape: Shape, skip: number): Shape =>
  shape.shape === 'text' || shape.shape === 'variant' || skip === 0
    ? shape
    : { ...shape, skip: shape.skip + skip };

/** How a value without parts is read, and how many bytes before it; or why it cannot be. */
async function planOf(
  types: NativeTypes,
  type: NativeType,
  location: Location,
): Promise<{ plan: ValuePlan; skip: number } | string> {
  const element = type.element === null ? null : await types.describe(type.element);
  const optional = type.kind === 'variant' ? await optionalText(types, type) : null;
  const holder = optional ?? type;
  if (holder.holdsShort) {
    if ('pieces' in location) return 'where it is passed is not known';
    const found = beginning(location, holder.size);
    if (typeof found === 'string') return found;
    const { plan, skip } = found;
    const text = { kind: ValueKind.LIBCXX_STRING, size: 1, limit: TEXT_LIMIT };
    return { plan: { ...plan, ...text }, skip };
  }
  if (holder.kind === 'string' || holder.kind === 'slice') {
    const pointer = beginning(within(location, holder.pointerAt, WORD), WORD);
    if (typeof pointer === 'string') return pointer;
    const apart = lengthFrom(location, holder, pointer.at);
    if (apart === null) return 'its length is not kept';
    const kind =
      optional || (holder.kind === 'slice' && !isBytes(element))
        ? ValueKind.SLICE
        : ValueKind.STRING;
    const isText = optional !== null || kind === ValueKind.STRING;
    const plan = {
      ...pointer.plan,
      kind,
      size: isText ? 1 : (element?.size ?? 0),
      limit: isText ? TEXT_LIMIT : ELEMENTS_LIMIT,
      lengthAt: apart,
    };
    return { plan, skip: 0 };
  }
  const size = Math.min(type.size, MAX_VALUE_BYTES);
  const found = beginning(location, size);
  if (typeof found === 'string') return found;
  const { plan, skip } = found;
  if (element && isCString(type, element)) {
    if (skip !== 0) return 'it begins within a register';
    return { plan: { ...plan, kind: ValueKind.CSTRING, limit: TEXT_LIMIT }, skip };
  }
  return { plan: { ...plan, kind: ValueKind.PLAIN, size: skip + size }, skip };
}

/** Bytes from the pointer to the length; in registers 8 for each that lies between. */
function lengthFrom(location: Location, type: NativeType, pointer: number): number | null {
  if (!('pieces' in location)) return type.lengthAt - type.pointerAt;
  const length = beginning(within(location, type.lengthAt, WORD), WORD);
  return typeof length === 'string' ? null : WORD * (length.at - pointer);
}

function beginning(
  location: Location,
  size: number,
): { plan: ValuePlan; skip: number; at: number } | string {
  const rest = { kind: ValueKind.PLAIN, hasMethods: false, size, limit: 0, lengthAt: WORD };
  if (!('pieces' in location)) {
    if (location.path.length > MAX_VALUE_PATH) return 'too many pointers lead to it';
    return { plan: { ...location, ...rest }, skip: 0, at: location.at };
  }
  const pieces = [...location.pieces].sort((a, b) => a.offset - b.offset);
  const [first] = pieces;
  if (!first || first.offset > 0) return 'the compiler has optimised it away';
  if (pieces.some(({ register }) => register >= FIRST_FLOAT)) {
    return 'it is passed in a floating-point register, which cannot be read';
  }
  let end = first.offset;
  for (const [index, piece] of pieces.entries()) {
    const isNext = piece.offset === first.offset + WORD * index;
    if (!isNext || piece.register !== first.register + index || index >= MOST_WORDS) {
      return 'it is passed in pieces that are apart';
    }
    end = piece.offset + piece.size;
  }
  if (end < size) return 'the compiler has optimised a part of it away';
  const plan = { place: ValuePlace.REGISTERS, at: first.register, path: [], ...rest };
  return { plan, skip: -first.offset, at: first.register };
}
