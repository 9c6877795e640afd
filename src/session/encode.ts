/** From plans to what the kernel side reads: settings, sites, types of contexts. */
import type { Features } from '../native/native.js';
import type { Site } from '../plan/sites.js';
import {
  type ContextType,
  type GoLayout,
  type ModulePlan,
  type PlannedFunction,
  siteCount,
  type ValuePlan,
} from '../plan/plan.js';
import type { SpanAttribute } from '../spans/span-attribute.js';
import {
  attributeName,
  contextType,
  errorText,
  functionValues,
  MAX_CONTEXT_HOPS,
  MAX_WAIT_REASONS,
  settings,
  site,
  SiteFlag,
  SiteKind,
  spanType,
  valuePlan,
} from '../spans/records.generated.js';

/** What a rule's wishes come to in the kernel. */
export interface RuleOptions {
  minDurationNs: number;
  /** 56 bits; see sampling.ts. */
  sampleThreshold: bigint;
  /** Trees a second; 0: no limit. */
  maxRate: number;
  roots: boolean;
  unsampled: boolean;
  entryOnly: boolean;
  /** Context wrappers followed before a context counts as unreadable. */
  contextHops: number;
  /** Texts of errors and panics, not only their types. */
  errorText: boolean;
  /** Returns are carried out by our programs where the kernel lets them. */
  emulateReturns: boolean;
  /** Return addresses are replaced in every process, also where something may look for them. */
  returnTrampoline: boolean;
  /** What calls wait for is looked at. */
  waits: boolean;
  /** What the garbage collector does is told. */
  gc: boolean;
  /** What calls allocate is looked at. */
  allocations: boolean;
  /** What is read of the program's own spans, besides name and status; null: not even that. */
  spanAttributes: readonly SpanAttribute[] | null;
}

/** What else is the same for all functions of an attachment. */
export interface KernelOptions extends RuleOptions {
  /** Ended spans of the program's own SDK are reported too. */
  programSpans: boolean;
  /** Hits count only in processes that the map `targets` gives to this attachment. */
  filterTargets: boolean;
  /** By which `targets` names it. */
  attachment: number;
  /** Records leave by perf buffers, not by the ring. */
  perfBuffers: boolean;
  /** What calls wait for, or allocate, may be kept, be it for other rules. */
  keepsWaits: boolean;
  /** Where calls allocate is counted, if it is looked at what they do. */
  allocationStacks: boolean;
  shards: number;
}

const { PARK, READY, YIELD, STOP, SWITCH, RUN, ASSIST, ASSIST_END } = SiteKind;
const { REFILL, SAMPLE_RATE, SAMPLE } = SiteKind;
const WATCHES: ReadonlySet<number> = new Set([
  ...[PARK, READY, YIELD, STOP, SWITCH, RUN, ASSIST, ASSIST_END],
  ...[REFILL, SAMPLE_RATE, SAMPLE],
]);

/** Goroutines wait where no thread does: it needs probes in their scheduler, which may not be found. */
const seesWaits = ({ kind, support }: ModulePlan): boolean =>
  kind !== 'go' || support.some((site) => site.kind === SiteKind.PARK);

export function encodeSettings(
  plan: ModulePlan,
  firstFunction: number,
  options: KernelOptions,
  features: Features,
  seed: bigint,
): Buffer {
  const { layout, module, functions } = plan;
  const buffer = Buffer.alloc(settings.size);
  const flag = (at: number, on: boolean): void => void buffer.writeUInt8(on ? 1 : 0, at);
  const word = (at: number, value: number | bigint): void =>
    void buffer.writeBigUInt64LE(BigInt(value), at);
  word(settings.minDurationNs, options.minDurationNs);
  word(settings.sampleThreshold, options.sampleThreshold);
  if (options.maxRate > 0) {
    const interval = Math.max(1, Math.round(1e9 / options.maxRate));
    word(settings.treeIntervalNs, interval);
    // A tenth of a second's worth may come at once, so that a burst of requests is not halved.
    word(settings.treeBurstNs, Math.max(0, Math.floor(1e8) - interval));
  }
  word(settings.seed, seed);
  if (layout) encodeLayout(buffer, layout);
  flag(settings.waits, options.waits && seesWaits(plan));
  flag(settings.keepsWaits, options.keepsWaits);
  flag(settings.gc, options.gc);
  flag(settings.allocations, options.allocations);
  flag(settings.allocationStacks, options.allocationStacks);
  word(settings.minWaitNs, MIN_WAIT_NS);
  encodeAttributes(buffer, options.spanAttributes ?? []);
  buffer.writeUInt32LE(options.shards - 1, settings.shardMask);
  buffer.writeUInt32LE(Math.min(options.contextHops, MAX_CONTEXT_HOPS), settings.maxHops);
  buffer.writeUInt32LE(options.attachment, settings.attachment);
  word(settings.firstFunction, firstFunction);
  flag(settings.values, functions.some(hasValues));
  flag(settings.errorText, options.errorText);
  flag(settings.positionIndependent, module.facts.positionIndependent);
  flag(settings.filterTargets, options.filterTargets);
  flag(settings.hasCookies, features.cookies);
  flag(settings.roots, options.roots);
  flag(settings.unsampled, options.unsampled);
  flag(settings.entryOnly, options.entryOnly);
  flag(settings.programSpans, options.programSpans || options.spanAttributes !== null);
  flag(settings.findsMappings, features.findsMappings);
  flag(settings.perfBuffers, options.perfBuffers);
  flag(settings.writesRegisters, features.writesRegisters);
  flag(settings.hasSessions, features.uprobeSession && !options.entryOnly);
  flag(settings.trampolines, options.returnTrampoline);
  flag(settings.emulateReturns, features.writesRegisters && options.emulateReturns);
  return buffer;
}

/** Shorter waits are told as sums only. */
export const MIN_WAIT_NS = 1_000_000;
function encodeAttributes(buffer: Buffer, attributes: readonly SpanAttribute[]): void {
  attributes.forEach(({ name, number }, index) => {
    const at = settings.attributeNames + index * attributeName.size;
    const size = buffer.write(name, at + attributeName.text);
    buffer.writeUInt32LE(size, at + attributeName.sizeField);
    buffer.writeUInt32LE(number, at + attributeName.number);
  });
}

/** What must be known of a Go program's memory. */
function encodeLayout(buffer: Buffer, layout: GoLayout): void {
  const word = (at: number, value: number): void => void buffer.writeBigUInt64LE(BigInt(value), at);
  word(settings.valueItab, layout.valueItab);
  word(settings.keyType, layout.keyType);
  word(settings.contextInterface, layout.contextInterface);
  layout.spanTypes.forEach((type, index) => {
    const at = settings.spanTypes + index * spanType.size;
    word(at + spanType.type, type.type);
    buffer.writeUInt16LE(type.contextOffset, at + spanType.contextOffset);
    buffer.writeUInt16LE(type.nameOffset, at + spanType.nameOffset);
    buffer.writeUInt16LE(type.parentOffset, at + spanType.parentOffset);
    buffer.writeUInt16LE(type.tracerOffset, at + spanType.tracerOffset);
    buffer.writeUInt16LE(type.remoteOffset, at + spanType.remoteOffset);
    buffer.writeUInt16LE(type.statusOffset, at + spanType.statusOffset);
    buffer.writeUInt16LE(type.attributesOffset, at + spanType.attributesOffset);
  });
  buffer.writeUInt32LE(layout.goidOffset, settings.goidOffset);
  buffer.writeUInt32LE(layout.requestContextOffset, settings.requestContext);
  buffer.writeUInt32LE(layout.labelsOffset, settings.labelsOffset);
  buffer.writeUInt32LE(layout.currentOffset, settings.currentOffset);
  buffer.writeUInt8(layout.labelsAreMap ? 1 : 0, settings.labelsAreMap);
  Buffer.from(layout.waitKinds).copy(buffer, settings.waitKinds, 0, MAX_WAIT_REASONS);
}

/** A site with its place in the map `sites`, which is its cookie. */
export interface NumberedSite {
  index: number;
  address: number;
  /** Number of the function; 0: it is a support site. */
  function: number;
}

export interface EncodedSites {
  /** Elements of the map `sites`, end to end. */
  sites: Buffer;
  count: number;
  entries: NumberedSite[];
  returns: NumberedSite[];
  support: NumberedSite[];
  /** By which it is seen what calls wait for, or allocate, and which nothing else needs. */
  watch: NumberedSite[];
  /** Entries whose program sees the returns too. */
  around: NumberedSite[];
}

/** `firstFunction` is the number that the session gave to the plan's first function. */
export function encodeSites(plan: ModulePlan, firstFunction: number): EncodedSites {
  const total = siteCount(plan);
  const sites = Buffer.alloc(total * site.size);
  const view = new DataView(sites.buffer, sites.byteOffset, sites.byteLength);
  let count = 0;
  const add = (
    { address, condition, stackAdjustment }: Site,
    kind: number,
    fn: number,
    { place, at, flags = 0 }: { place: number; at: number; flags?: number },
  ): NumberedSite => {
    const index = count++;
    const element = index * site.size;
    // Addresses of files are exact as numbers.
    view.setUint32(element + site.address, address >>> 0, true);
    view.setUint32(element + site.address + 4, address / 2 ** 32, true);
    view.setUint32(element + site.function, fn, true);
    view.setUint8(element + site.kind, kind);
    view.setUint8(element + site.condition, condition);
    view.setUint8(element + site.contextPlace, place);
    view.setUint8(element + site.flags, flags);
    view.setUint16(element + site.contextAt, at, true);
    view.setUint16(element + site.stackAdjustment, stackAdjustment ?? 0, true);
    return { index, address, function: fn };
  };
  const entries: NumberedSite[] = [];
  const returns: NumberedSite[] = [];
  const around: NumberedSite[] = [];
  // Another program of ours runs there too, and needs the registers as they were.
  const shared = new Set(plan.support.map(({ address }) => address));
  plan.functions.forEach((planned, index) => {
    const fn = firstFunction + index;
    const { entry, context, entryOnly, single, trampoline } = planned;
    const flags = entryOnly === null ? 0 : SiteFlag.ENTRY_ONLY;
    const begins = trampoline ? around : entries;
    begins.push(add(entry, single ? SiteKind.BOTH : SiteKind.ENTRY, fn, { ...context, flags }));
    for (const site of planned.returns) {
      const plain = site.plainReturn === true && !shared.has(site.address);
      const flags = plain ? SiteFlag.PLAIN_RETURN : 0;
      returns.push(add(site, SiteKind.RETURN, fn, { place: 0, at: 0, flags }));
    }
  });
  const support: NumberedSite[] = [];
  const watch: NumberedSite[] = [];
  for (const site of plan.support) {
    const numbered = add(site, site.kind, 0, { place: 0, at: site.at });
    (WATCHES.has(site.kind) ? watch : support).push(numbered);
  }
  return { sites, count, entries, returns, support, watch, around };
}

/** Keys and values of the map `sites` by which no call begins any more. */
export function encodeClosed({ sites, entries, around }: EncodedSites): {
  keys: Buffer;
  values: Buffer;
} {
  const closed = [...entries, ...around];
  const keys = Buffer.alloc(closed.length * 4);
  const values = Buffer.alloc(closed.length * site.size);
  closed.forEach(({ index }, i) => {
    keys.writeUInt32LE(index, i * 4);
    const at = i * site.size;
    sites.copy(values, at, index * site.size, (index + 1) * site.size);
    values.writeUInt8(values.readUInt8(at + site.flags) | SiteFlag.CLOSED, at + site.flags);
  });
  return { keys, values };
}

/** Keys and values of the map `context_types`: each type is found by its itab and by itself. */
export function encodeContextTypes(layout: GoLayout): { keys: Buffer; values: Buffer } {
  const known = new Map<number, ContextType>();
  for (const type of layout.contextTypes) {
    known.set(type.itab, type);
    if (type.type !== 0) known.set(type.type, type);
  }
  const keys = Buffer.alloc(known.size * 8);
  const values = Buffer.alloc(known.size * contextType.size);
  [...known].forEach(([address, { wraps, parentOffset }], index) => {
    keys.writeBigUInt64LE(BigInt(address), index * 8);
    const at = index * contextType.size;
    values.writeUInt32LE(parentOffset, at + contextType.parentOffset);
    values.writeUInt32LE(wraps, at + contextType.wraps);
  });
  return { keys, values };
}

const hasValues = ({ values, route }: PlannedFunction): boolean =>
  route !== null ||
  values.arguments.length > 0 ||
  values.results.length > 0 ||
  values.error !== null ||
  values.stackTrace;

/** Elements of the maps `value_plans` and `function_values`, end to end. */
export function encodeValues({ functions }: ModulePlan): { plans: Buffer; functions: Buffer } {
  const plans: Buffer[] = [];
  const encoded = Buffer.alloc(functions.length * functionValues.size);
  functions.forEach(({ values, route }, index) => {
    const element = encoded.subarray(
      index * functionValues.size,
      (index + 1) * functionValues.size,
    );
    element.writeUInt32LE(plans.length, functionValues.first);
    element.writeUInt8(values.arguments.length, functionValues.arguments);
    element.writeUInt8(values.results.length, functionValues.results);
    const { error } = values;
    if (error) {
      element.writeUInt8(error.kind, functionValues.errorKind);
      element.writeUInt8(error.place, functionValues.errorPlace);
      element.writeUInt16LE(error.at, functionValues.errorAt);
      element.writeUInt8(error.size, functionValues.errorSize);
      element.writeUInt8(error.inMemory ? 1 : 0, functionValues.errorInMemory);
      element.writeUInt8(error.read ? 1 : 0, functionValues.errorPlan);
      element.writeUInt32LE(error.offset, functionValues.errorOffset);
      element.writeBigUInt64LE(error.value, functionValues.errorValue);
    }
    element.writeUInt8(values.stackTrace ? 1 : 0, functionValues.stackTrace);
    element.writeUInt8(route === null ? 0 : 1, functionValues.httpHandler);
    const all = [...values.arguments, ...values.results, ...(error?.read ? [error.read] : [])];
    for (const { plan } of all) plans.push(encodeValue(plan));
  });
  return { plans: Buffer.concat(plans), functions: encoded };
}

function encodeValue(plan: ValuePlan): Buffer {
  const element = Buffer.alloc(valuePlan.size);
  element.writeUInt8(plan.kind, valuePlan.kind);
  element.writeUInt8(plan.place, valuePlan.place);
  element.writeUInt8(plan.path.length, valuePlan.steps);
  element.writeUInt8(plan.hasMethods ? 1 : 0, valuePlan.hasMethods);
  element.writeUInt16LE(plan.at, valuePlan.at);
  element.writeUInt16LE(plan.size, valuePlan.sizeField);
  element.writeUInt32LE(plan.limit, valuePlan.limit);
  element.writeInt32LE(plan.lengthAt, valuePlan.lengthAt);
  plan.path.forEach((step, index) => element.writeUInt32LE(step, valuePlan.path + index * 4));
  return element;
}

/** Keys and values of the map `error_texts`. */
export function encodeErrorTexts({ errorTexts }: GoLayout): { keys: Buffer; values: Buffer } {
  const keys = Buffer.alloc(errorTexts.length * 8);
  const values = Buffer.alloc(errorTexts.length * errorText.size);
  errorTexts.forEach(({ type, kind, offset }, index) => {
    keys.writeBigUInt64LE(BigInt(type), index * 8);
    values.writeUInt32LE(kind, index * errorText.size + errorText.kind);
    values.writeUInt32LE(offset, index * errorText.size + errorText.offset);
  });
  return { keys, values };
}

/** Keys of `count` elements of an array map. */
export const numbersFrom = (first: number, count: number): Buffer => {
  const keys = Buffer.alloc(count * 4);
  for (let index = 0; index < count; index++) keys.writeUInt32LE(first + index, index * 4);
  return keys;
};
