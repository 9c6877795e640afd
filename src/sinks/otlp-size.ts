/** What spans take, from above: encoded, and nearly so in memory before that. */
import type { AttributeValue, FunctionSpan, ProcessResource } from '../spans/span.js';

/** Encoded, ids, times and lengths take 110 bytes at most; as an object they take about 250. */
const SPAN = 256;
/** An event or a link. */
const PART = 64;
/** Tags, lengths and a number; as an object, its slots. */
const ATTRIBUTE = 24;

export function sizeOfSpan(span: FunctionSpan): number {
  let bytes = SPAN + Buffer.byteLength(span.name);
  if (span.status.message !== undefined) bytes += Buffer.byteLength(span.status.message);
  bytes += sizeOfAttributes(span.attributes);
  for (const { name, attributes } of span.events ?? []) {
    bytes += PART + Buffer.byteLength(name) + sizeOfAttributes(attributes);
  }
  for (const { attributes } of span.links ?? []) bytes += PART + sizeOfAttributes(attributes);
  return bytes;
}

function sizeOfAttributes(attributes: Record<string, AttributeValue>): number {
  let bytes = 0;
  for (const key in attributes) bytes += sizeOfAttribute(key, attributes[key]);
  return bytes;
}

export function sizeOfTree(tree: readonly FunctionSpan[]): number {
  let bytes = 0;
  for (const span of tree) bytes += sizeOfSpan(span);
  return bytes;
}

/** Once in each request that holds spans of it. */
export function sizeOfResource({ attributes }: ProcessResource): number {
  let bytes = 100;
  for (const [key, value] of Object.entries(attributes)) {
    bytes += sizeOfAttribute(key, Array.isArray(value) ? undefined : value);
    if (Array.isArray(value)) for (const item of value) bytes += sizeOfAttribute('', item);
  }
  return bytes;
}

function sizeOfAttribute(key: string, value: AttributeValue | undefined): number {
  const text = typeof value === 'string' ? Buffer.byteLength(value) : 0;
  return ATTRIBUTE + Buffer.byteLength(key) + text;
}
