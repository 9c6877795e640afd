/** Where the text of an error is, by its type: read from memory, since Error() cannot be called. */
import type { GoType, Module } from '../native/native.js';
import { ErrorTextKind } from '../spans/records.generated.js';
import type { ErrorText } from './plan.js';

/** Fields that hold the whole text, as programs call them. */
export const TEXT_FIELDS =
  /^(?:s|str|msg|message|text|err|error|errmsg|reason|desc|description|detail)$/i;
/** Types of values that programs panic with, besides errors. */
const PANICS = ['string', 'int', 'int64', 'uint64', 'bool'];
/** struct { x int64; y int; signed bool; code uint8 } in runtime/error.go. */
const BOUNDS_ERROR_SIZE = 24;

export async function errorTexts(module: Module): Promise<ErrorText[]> {
  const tables = await module.interfaceTables('error');
  const byType = new Map<number, string>();
  for (const { type, typeAddress } of tables) if (typeAddress) byType.set(typeAddress, type);
  const panics = await module.runtimeTypes(PANICS);
  panics.forEach((address, index) => {
    if (address !== null) byType.set(address, PANICS[index] ?? '');
  });
  const [bounds] = await module.runtimeTypes(['runtime.boundsError']);
  if (bounds) byType.set(bounds, 'runtime.boundsError');
  const entries = [...byType];
  const described = await module.describeTypes(entries.map(([, name]) => name.replace(/^\*/, '')));
  return entries.flatMap(([address, name], index): ErrorText[] => {
    const found = textOf(name, described[index] ?? null);
    return found ? [{ type: address, ...found }] : [];
  });
}

function textOf(name: string, type: GoType | null): Omit<ErrorText, 'type'> | null {
  if (!type) return null;
  if (name === 'runtime.boundsError') {
    return { kind: ErrorTextKind.PLAIN, offset: BOUNDS_ERROR_SIZE };
  }
  if (type.kind === 'string') return { kind: ErrorTextKind.STRING, offset: 0 };
  if (['int', 'uint', 'bool'].includes(type.kind) && !name.startsWith('*')) {
    return { kind: ErrorTextKind.PLAIN, offset: type.size };
  }
  if (type.kind !== 'struct') return null;
  const text = type.fields.find((field) => field.type === 'string' && TEXT_FIELDS.test(field.name));
  return text ? { kind: ErrorTextKind.STRING, offset: text.offset } : null;
}
