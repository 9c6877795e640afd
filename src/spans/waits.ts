/** What calls wait for, as outputs name it. */
import type { CallWaits } from './call.js';
import { WaitKind } from './records.generated.js';
import type { AttributeValue, SpanEvent, SpanLink } from './span.js';
import {
  WAIT_BY_FUNCTION,
  WAIT_BY_TRACE,
  WAIT_DURATION,
  WAIT_EVENT,
  WAIT_REASON,
} from './time-attributes.js';

/** By WaitKind. Semantic conventions have none for it. */
export const WAIT_NAMES: readonly string[] = Object.entries(WaitKind)
  .filter(([, kind]) => kind !== WaitKind.KINDS)
  .sort(([, a], [, b]) => a - b)
  .map(([name]) => name.toLowerCase());

const NONE = new Float64Array(0);

/** All of a call's time, in ns: where it ran, and for what it did not. */
export function addTimes(
  attributes: Record<string, AttributeValue>,
  durationNs: number,
  waits: Pick<CallWaits, 'ns'> | null,
): void {
  let waited = 0;
  const ns = waits?.ns ?? NONE;
  for (let kind = 0; kind < ns.length; kind++) {
    const each = ns[kind] ?? 0;
    if (each === 0) continue;
    waited += each;
    attributes[`underspan.time.${WAIT_NAMES[kind]}`] = each;
  }
  attributes['underspan.time.running'] = Math.max(0, durationNs - waited);
}

/** Bytes, where something was seen of them. */
export function addAllocations(
  attributes: Record<string, AttributeValue>,
  { allocated, allocations }: Pick<CallWaits, 'allocated' | 'allocations'>,
): void {
  if (allocations === 0) return;
  attributes['underspan.allocated'] = allocated;
  attributes['underspan.allocated.samples'] = allocations;
}

/** By reason, without those that did not occur; in ns. */
export function waitsByReason(ns: readonly number[]): Record<string, number> {
  const known = WAIT_NAMES.map((name, kind): [string, number] => [name, ns[kind] ?? 0]);
  return Object.fromEntries(known.filter(([, waited]) => waited > 0));
}

/** The longer waits, each with whoever ended it: of a lock, who held it. */
export function eventsOf(
  { told }: CallWaits,
  clockOffsetNs: bigint,
  nameOf: (functionIndex: number) => string | null,
): SpanEvent[] {
  return told.map(({ startNs, readyNs, endNs, kind, waker }) => {
    const attributes: Record<string, AttributeValue> = {
      [WAIT_REASON]: WAIT_NAMES[kind] ?? 'other',
      [WAIT_DURATION]: Number(endNs - startNs),
    };
    if (readyNs !== null) attributes['underspan.wait.runnable'] = Number(endNs - readyNs);
    if (waker) {
      if (waker.goroutineId !== 0) attributes['underspan.wait.by.goroutine'] = waker.goroutineId;
      if (waker.tid !== 0) attributes['underspan.wait.by.thread'] = waker.tid;
      const name = waker.function === 0 ? null : nameOf(waker.function);
      if (name !== null) attributes[WAIT_BY_FUNCTION] = name;
      if (waker.traceId !== null) {
        attributes[WAIT_BY_TRACE] = waker.traceId;
        attributes['underspan.wait.by.span_id'] = waker.spanId;
      }
    }
    return { name: WAIT_EVENT, timeUnixNano: startNs + clockOffsetNs, attributes };
  });
}

/** To the calls of other traces that ended its waits, each once. */
export function linksOf({ told }: CallWaits, traceId: string): SpanLink[] {
  const links = new Map<string, SpanLink>();
  for (const { kind, waker } of told) {
    if (!waker || waker.traceId === null || waker.traceId === traceId) continue;
    links.set(waker.spanId, {
      traceId: waker.traceId,
      spanId: waker.spanId,
      attributes: { [WAIT_REASON]: WAIT_NAMES[kind] ?? 'other' },
    });
  }
  return [...links.values()];
}
