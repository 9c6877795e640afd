/** Rust's enums with data: which variant a value is shows only in the call. */
import type { NativeParameter, NativeType } from '../native/native.js';
import { MAX_VALUE_BYTES, ValueKind, ValuePlace } from '../spans/records.generated.js';
import type { Shape, VariantShape } from '../spans/shapes.js';
import {
  FIRST_FLOAT,
  MOST_WORDS,
  type NativeTypes,
  optionalText,
  plainShape,
  shapeOf,
  variantShape,
  WORD,
} from './native-shapes.js';
import type { ValuePlan } from './plan.js';

const DEEPEST = 8;

type Piece = NativeParameter['pieces'][number];

/** Each piece is read as a whole word, whatever lies between them in memory. */
export function variantInRegisters(
  shape: VariantShape,
  pieces: readonly Piece[],
): { shape: Shape; plan: ValuePlan } | string {
  const integers = pieces.filter(({ register }) => register < FIRST_FLOAT);
  const first = Math.min(...integers.map(({ register }) => register));
  const moved = <Part extends { skip: number; size: number }>(part: Part): Part | null => {
    const piece = integers.find(
      ({ offset, size }) => offset <= part.skip && part.skip + part.size <= offset + size,
    );
    const skip = piece && WORD * (piece.register - first) + part.skip - piece.offset;
    return skip === undefined || skip >= WORD * MOST_WORDS ? null : { ...part, skip };
  };
  const discriminant = moved(shape.discriminant);
  if (!discriminant) return 'the compiler has optimised away which variant it is';
  const variants = shape.variants.map((each) => ({
    ...each,
    content: each.content && moved(each.content),
  }));
  return {
    shape: { ...shape, discriminant, variants },
    plan: {
      kind: ValueKind.PLAIN,
      place: ValuePlace.REGISTERS,
      at: first,
      path: [],
      hasMethods: false,
      size: WORD * MOST_WORDS,
      limit: 0,
      lengthAt: WORD,
    },
  };
}

const listed = (names: readonly string[]): string =>
  names.length > 0 ? `; it has ${names.join(', ')}` : '';

/**
 * "Some", "Moved.x", "Moved.to.0": a plain value in one of the variants. Where a call has another,
 * its name is shown instead. Or why it cannot be read.
 */
export async function variantPart(
  types: NativeTypes,
  type: NativeType,
  [name = '', ...path]: readonly string[],
): Promise<Shape | string> {
  const index = type.variants.findIndex((variant) => variant.name === name);
  const variant = type.variants[index];
  if (!variant) {
    return `${type.name} has no variant ${name}${listed(type.variants.map((each) => each.name))}`;
  }
  const whole = await variantShape(types, type);
  if (!whole) return `what tells the variants of ${type.name} apart is not known`;
  if (path.length === 0 && name === 'Some' && (await optionalText(types, type))) {
    return (await shapeOf(types, type)) ?? `values of the type ${type.name} are not read`;
  }
  let inner = await types.describe(variant.type);
  let skip = variant.offset;
  for (let depth = 0; depth < DEEPEST; depth++) {
    const [next, ...rest] = path;
    const content = next === undefined ? plainShape(inner) : null;
    if (content) {
      if (skip + content.size > MAX_VALUE_BYTES) return 'it lies too far into the value';
      const variants = whole.variants.map((each, at) => ({
        ...each,
        content: at === index ? { ...content, skip } : null,
      }));
      return { ...whole, variants, bare: true };
    }
    const { name: holder, kind, fields } = inner;
    const names = listed(fields.map((each) => each.name));
    // The one value of Some(T) needs no name.
    const only = fields.length === 1 ? fields[0] : undefined;
    const field = next === undefined ? only : fields.find((each) => each.name === next);
    if (kind !== 'struct' || !field) {
      return next === undefined
        ? `values of the type ${holder} are not read in a variant${names}`
        : `${holder} has no field ${next}${names}`;
    }
    path = rest;
    skip += field.offset;
    inner = await types.describe(field.type);
  }
  return 'it is nested too deep';
}
