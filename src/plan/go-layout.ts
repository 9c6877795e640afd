import { UnderspanError } from '../errors.js';
import type { Module } from '../native/native.js';
import { ContextWraps, MAX_SPAN_TYPES, NO_SPAN_CONTEXT } from '../spans/records.generated.js';
import { errorTexts } from './error-texts.js';
import { goMinor, goVersion, LABELS_AS_SLICE, OLDEST_MINOR } from './go-versions.js';
import { waitKinds } from './go-waits.js';
import type { ContextType, GoLayout, ResourceLayout, SpanType } from './plan.js';

const SDK = 'go.opentelemetry.io/otel/sdk';
const API_TRACE = 'go.opentelemetry.io/otel/trace';
const SDK_TRACE = `${SDK}/trace`;

/** "v1.38.0" → 38; null for what is no v1 release. */
function minorOf(version: string | undefined): number | null {
  const found = /^v1\.(\d+)\./.exec(version ?? '');
  return found ? Number(found[1]) : null;
}

/** The newest v1 of the SDK whose source has been looked at. */
const NEWEST_SDK_MINOR = 47;
/** Of `remote` in a SpanContext. */
const REMOTE = 56;

/** What lies where in the SDK's recordingSpan, by minor version of v1. */
export function recordingSpanOffsets(
  minor: number,
): Omit<SpanType, 'name' | 'type' | 'tracerOffset'> {
  const unknown = { remoteOffset: 0, statusOffset: 0, attributesOffset: 0 };
  if (minor < 4) return { contextOffset: 232, nameOffset: 0, parentOffset: 0, ...unknown };
  // An embedded interface came first with v1.20.
  const base = minor >= 20 ? 16 : 0;
  return {
    contextOffset: base + 176,
    nameOffset: base + 80,
    parentOffset: base + 8,
    ...(minor > NEWEST_SDK_MINOR
      ? unknown
      : {
          remoteOffset: base + 8 + REMOTE,
          statusOffset: base + 144,
          attributesOffset: base + 240,
        }),
  };
}

/** As the programs at the probes read an attribute.KeyValue. */
const ATTRIBUTE = { pairSize: 64, key: 0, kind: 16, number: 24, text: 32 } as const;

/** Contexts of the standard library that end a chain, or whose parent is their first word. */
const ENDS = new Set([
  'context.backgroundCtx',
  'context.todoCtx',
  '*context.emptyCtx',
  'context.emptyCtx',
]);
const WRAPS_FIRST = new Set([
  '*context.cancelCtx',
  '*context.timerCtx',
  '*context.afterFuncCtx',
  '*context.stopCtx',
  'context.stopCtx',
  'context.withoutCancelCtx',
  '*context.withoutCancelCtx',
]);

/** The facts about a Go program's memory that no probe may guess at. */
export async function goLayout(module: Module, hasLabels: boolean): Promise<GoLayout> {
  const { go, path } = module.facts;
  const minor = goMinor(go?.version ?? '');
  if (!go?.version || minor === null) {
    throw new UnderspanError(
      'unsupported',
      'GO_VERSION_UNKNOWN',
      `${path} does not say which Go version built it`,
      'build it with a released Go toolchain',
    );
  }
  if (minor < OLDEST_MINOR) {
    throw new UnderspanError(
      'unsupported',
      'GO_VERSION_OLD',
      `${path} was built by ${go.version}; Go 1.${OLDEST_MINOR} is the oldest that can be traced`,
      'rebuild it with a newer Go',
    );
  }
  const [goid, labels, curg, request] = await module.fieldOffsets([
    { type: 'runtime.g', field: 'goid' },
    { type: 'runtime.g', field: 'labels' },
    { type: 'runtime.m', field: 'curg' },
    { type: 'net/http.Request', field: 'ctx' },
  ]);
  const known = goVersion(minor);
  if (goid == null && !known) {
    throw new UnderspanError(
      'unsupported',
      'GO_VERSION_NEW',
      `${path} was built by ${go.version}, of which nothing is known yet, and has no DWARF that would tell`,
      'build it without -ldflags=-w, or use a newer version of this tool',
    );
  }
  const contexts = await module.interfaceTables('context.Context');
  const value = contexts.find(({ type }) => type === '*context.valueCtx');
  const [keyType] = await module.runtimeTypes([`${API_TRACE}.traceContextKeyType`]);
  const contextTypes: ContextType[] = [];
  for (const { type, itab, typeAddress } of contexts) {
    if (type === '*context.valueCtx') continue;
    const named = { itab, type: typeAddress ?? 0 };
    const at = WRAPS_FIRST.has(type)
      ? 0
      : await embeddedContext(module, type.replace(/^\*/, ''), 0);
    if (ENDS.has(type)) contextTypes.push({ ...named, wraps: ContextWraps.NONE, parentOffset: 0 });
    else if (at === null) {
      contextTypes.push({ ...named, wraps: ContextWraps.UNKNOWN, parentOffset: 0 });
    } else contextTypes.push({ ...named, wraps: ContextWraps.AT, parentOffset: at });
  }
  const resource = await resourceLayout(module);
  return {
    version: go.version,
    goidOffset: goid ?? known?.goid ?? 0,
    labelsOffset: hasLabels ? (labels ?? known?.labels ?? 0) : 0,
    labelsAreMap: minor < LABELS_AS_SLICE,
    currentOffset: curg ?? known?.curg ?? 0,
    threadOffset: (await module.goThreadOffset()) ?? 0,
    requestContextOffset: request ?? known?.requestContext ?? 0,
    waitKinds: waitKinds(minor),
    valueItab: value?.itab ?? 0,
    keyType: keyType ?? 0,
    contextInterface: value?.interfaceAddress ?? 0,
    spanTypes: await spanTypes(module, resource),
    contextTypes,
    errorTexts: await errorTexts(module),
    resource,
  };
}

/** Embedded structs within each other that are looked into for a context. */
const DEEPEST_EMBEDDING = 3;

/** Where a struct embeds the context whose methods it passes on; null where it does not. */
async function embeddedContext(
  module: Module,
  struct: string,
  depth: number,
): Promise<number | null> {
  const [type] = await module.describeTypes([struct]);
  for (const field of type?.fields ?? []) {
    if (!field.embedded) continue;
    if (field.type === 'context.Context') return field.offset;
    if (depth < DEEPEST_EMBEDDING && !field.type.startsWith('*')) {
      const inner = await embeddedContext(module, field.type, depth + 1);
      if (inner !== null) return field.offset + inner;
    }
  }
  return null;
}

/** Types of spans that carry nothing, and so end the search with no span found. */
const EMPTY_SPANS = new Set([`${API_TRACE}.noopSpan`, `${API_TRACE}/noop.Span`]);

/** What the API puts into contexts, where the compiler sees the type. */
const WITHOUT_ITAB = [`${API_TRACE}.nonRecordingSpan`, `${API_TRACE}.noopSpan`];

/** The types that the SDK and the API put into a context as the current span. */
async function spanTypes(module: Module, resource: ResourceLayout | null): Promise<SpanType[]> {
  const tables: { type: string; typeAddress: number | null }[] = await module.interfaceTables(
    `${API_TRACE}.Span`,
  );
  // Put straight into an `any`, they need no itab.
  const addresses = await module.runtimeTypes(WITHOUT_ITAB);
  addresses.forEach((typeAddress, index) => {
    tables.push({ type: WITHOUT_ITAB[index] ?? '', typeAddress });
  });
  const minor = minorOf(module.facts.go?.modules[SDK]);
  const readsAttributes =
    resource !== null &&
    (Object.keys(ATTRIBUTE) as (keyof typeof ATTRIBUTE)[]).every(
      (part) => resource[part] === ATTRIBUTE[part],
    );
  const types: SpanType[] = [];
  for (const { type, typeAddress } of tables) {
    const struct = type.replace(/^\*/, '');
    if (typeAddress === null || types.some((known) => known.type === typeAddress)) continue;
    const add = (contextOffset: number, others: Partial<SpanType> = {}): void =>
      void types.push({
        name: type,
        type: typeAddress,
        contextOffset,
        nameOffset: 0,
        parentOffset: 0,
        tracerOffset: 0,
        remoteOffset: 0,
        statusOffset: 0,
        attributesOffset: 0,
        ...others,
      });
    if (EMPTY_SPANS.has(struct)) {
      add(NO_SPAN_CONTEXT);
      continue;
    }
    const [context, sc, name, parent, tracer, remote, status, attributes] =
      await module.fieldOffsets([
        { type: struct, field: 'spanContext' },
        { type: struct, field: 'sc' },
        { type: struct, field: 'name' },
        { type: struct, field: 'parent' },
        { type: struct, field: 'tracer' },
        { type: struct, field: 'parent.remote' },
        { type: struct, field: 'status.Code' },
        { type: struct, field: 'attributes' },
      ]);
    const byDwarf = context ?? sc;
    const isRecording = struct === `${SDK_TRACE}.recordingSpan`;
    if (byDwarf != null) {
      add(
        byDwarf,
        isRecording
          ? {
              nameOffset: name ?? 0,
              parentOffset: parent ?? 0,
              tracerOffset: tracer ?? 0,
              remoteOffset: remote ?? 0,
              statusOffset: status ?? 0,
              attributesOffset: readsAttributes ? (attributes ?? 0) : 0,
            }
          : {},
      );
    } else if (minor !== null && isRecording) {
      const { contextOffset, ...others } = recordingSpanOffsets(minor);
      add(contextOffset, others);
    } else if (minor !== null && struct.endsWith('.nonRecordingSpan')) {
      const inSdk = struct.startsWith(SDK_TRACE);
      add(inSdk ? (minor >= 20 ? 24 : 8) : minor >= 20 ? 16 : 0);
    }
  }
  return types.slice(0, MAX_SPAN_TYPES);
}

const API_ATTRIBUTE = 'go.opentelemetry.io/otel/attribute';

/** Null where a part of the way is not known. */
async function resourceLayout(module: Module): Promise<ResourceLayout | null> {
  const [provider, resource, attributes, ...inSet] = await module.fieldOffsets([
    { type: `${SDK_TRACE}.tracer`, field: 'provider' },
    { type: `${SDK_TRACE}.TracerProvider`, field: 'resource' },
    { type: `${SDK}/resource.Resource`, field: 'attrs' },
    // attribute.Set up to v1.36, and later.
    { type: `${API_ATTRIBUTE}.Set`, field: 'equivalent.iface' },
    { type: `${API_ATTRIBUTE}.Set`, field: 'data' },
  ]);
  const [key, kind, number, text, slice] = await module.fieldOffsets([
    { type: `${API_ATTRIBUTE}.KeyValue`, field: 'Key' },
    { type: `${API_ATTRIBUTE}.KeyValue`, field: 'Value.vtype' },
    { type: `${API_ATTRIBUTE}.KeyValue`, field: 'Value.numeric' },
    { type: `${API_ATTRIBUTE}.KeyValue`, field: 'Value.stringly' },
    { type: `${API_ATTRIBUTE}.KeyValue`, field: 'Value.slice' },
  ]);
  const [pair] = await module.describeTypes([`${API_ATTRIBUTE}.KeyValue`]);
  const set = inSet.find((offset) => offset != null);
  if (provider == null || resource == null || attributes == null || set == null) return null;
  if (key == null || kind == null || number == null || text == null || slice == null) return null;
  if (!pair) return null;
  return {
    provider,
    resource,
    attributes: attributes + set,
    pairSize: pair.size,
    key,
    kind,
    number,
    text,
    slice,
  };
}
