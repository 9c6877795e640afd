/** What the bytes of a type of C, C++ or Rust are shown as. */
import type { Module, NativeType } from '../native/native.js';
import { MAX_VALUE_BYTES } from '../spans/records.generated.js';
import type { PlainShape, Shape, VariantShape } from '../spans/shapes.js';

export const WORD = 8;
/** Integer registers are numbered from 0, those of floats from here. */
export const FIRST_FLOAT = 100;
/** Words that one value has in registers. */
export const MOST_WORDS = 3;

/** Describes types, each once. */
export class NativeTypes {
  private readonly known = new Map<string, Promise<NativeType>>();

  private readonly names = new Map<string, Promise<string>>();

  constructor(private readonly module: Module) {}

  /** With its namespaces, for which a whole unit of DWARF has to be read. */
  nameOf(id: string): Promise<string> {
    let name = this.names.get(id);
    if (!name) {
      name = this.module.nativeTypeNames([id]).then(([found]) => found ?? '?');
      this.names.set(id, name);
    }
    return name;
  }

  describe(id: string): Promise<NativeType> {
    let found = this.known.get(id);
    if (!found) {
      found = this.module.nativeTypes([id]).then(([type]) => type as NativeType);
      this.known.set(id, found);
    }
    return found;
  }
}

export const isCString = (type: NativeType, target: NativeType): boolean =>
  type.kind === 'pointer' && target.kind === 'char' && target.size === 1 && !type.isRust;

export function plainShape(type: NativeType): PlainShape | null {
  const { kind, size } = type;
  const placed = { skip: 0, size };
  switch (kind) {
    case 'bool':
    case 'int':
    case 'uint':
    case 'char':
      return size <= 2 * WORD ? { shape: kind, ...placed } : null;
    case 'float':
      return size === 4 || size === WORD ? { shape: kind, ...placed } : null;
    case 'pointer':
    case 'func':
      return { shape: 'pointer', ...placed };
    case 'reference':
      return { shape: 'pointer', ...placed };
    case 'enum':
      return { shape: kind, isSigned: type.isSigned, names: type.names, ...placed };
    default:
      return null;
  }
}

export async function shapeOf(types: NativeTypes, type: NativeType): Promise<Shape | null> {
  const element = type.element === null ? null : await types.describe(type.element);
  switch (type.kind) {
    case 'pointer':
      return element && isCString(type, element) ? { shape: 'text' } : plainShape(type);
    case 'string':
      return { shape: 'text' };
    case 'slice':
      if (isBytes(element)) return { shape: 'text' };
      return {
        shape: 'list',
        element: element && plainShape(element),
        type: type.name,
        skip: 0,
        count: null,
      };
    case 'array': {
      if (element?.kind === 'char' && element.size === 1) {
        return { shape: 'characters', skip: 0, size: Math.min(type.size, MAX_VALUE_BYTES) };
      }
      const inner = element && plainShape(element);
      return { shape: 'list', element: inner, type: type.name, skip: 0, count: type.count };
    }
    case 'variant':
      return (await optionalText(types, type))
        ? { shape: 'text', none: 'None' }
        : variantShape(types, type);
    default:
      return plainShape(type);
  }
}

export const isBytes = (element: NativeType | null): boolean =>
  element?.kind === 'uint' && element.size === 1;

export async function variantShape(
  types: NativeTypes,
  type: NativeType,
): Promise<VariantShape | null> {
  if (!type.discriminant) return null;
  const tag = await types.describe(type.discriminant.type);
  const variants = await Promise.all(
    type.variants.map(async ({ name, value, type: id, offset }) => {
      const { fields } = await types.describe(id);
      const [only] = fields;
      const inner = only && fields.length === 1 ? await types.describe(only.type) : null;
      const plain = inner && plainShape(inner);
      const skip = offset + (only?.offset ?? 0);
      return { name, value, content: plain && { ...plain, skip } };
    }),
  );
  const discriminant = { skip: type.discriminant.offset, size: tag.size };
  return { shape: 'variant', skip: 0, size: type.size, discriminant, variants };
}

/** Option<&str> and the like: where it is None, its pointer is null. */
export async function optionalText(
  types: NativeTypes,
  type: NativeType,
): Promise<NativeType | null> {
  const [none, some] = type.variants;
  if (none?.name !== 'None' || none.value !== 0n || some?.value !== null) return null;
  const [only] = (await types.describe(some.type)).fields;
  const inner = only ? await types.describe(only.type) : null;
  const isText = inner?.kind === 'string' && inner.size === type.size && only?.offset === 0;
  return isText && type.discriminant?.offset === inner.pointerAt ? inner : null;
}
