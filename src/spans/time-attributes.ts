/** Where a call's time went, as its span says it: names of attributes and of events. */
import type { AttributeValue } from './span.js';

/** Why a call did not run: the words that Go's runtime, or the kernel, has for it. */
export const BLOCKED_REASONS = [
  'mutex',
  'semaphore',
  'condition',
  'channel_receive',
  'channel_send',
  'select',
  'network',
  'sleep',
  'gc_assist',
  'futex',
  'io',
  'page_fault',
  'system_call',
  'other',
] as const;

/** All that a call's time is made of; runnable is to wait for a CPU. */
export const TIME_REASONS = ['running', 'runnable', 'throttled', ...BLOCKED_REASONS] as const;

export type BlockedReason = (typeof BLOCKED_REASONS)[number];
export type TimeReason = (typeof TIME_REASONS)[number];

/** Nanoseconds by reason; what is 0 is left out. */
export type Times = Partial<Record<TimeReason, number>>;

export const timeAttribute = (reason: TimeReason): string => `underspan.time.${reason}`;

/** Bytes, sampled. */
export const ALLOCATED = 'underspan.allocated';

export const WAIT_EVENT = 'underspan.wait';
export const WAIT_REASON = 'underspan.wait.reason';
export const WAIT_DURATION = 'underspan.wait.duration';
/** Who ended the wait; of a lock, who held it. */
export const WAIT_BY_FUNCTION = 'underspan.wait.by.function';
export const WAIT_BY_TRACE = 'underspan.wait.by.trace_id';

const NAMES = TIME_REASONS.map((reason) => [reason, timeAttribute(reason)] as const);

/** null: the span does not say. */
export function timesOf(attributes: Record<string, AttributeValue>): Times | null {
  let times: Times | null = null;
  for (const [reason, name] of NAMES) {
    const value = attributes[name];
    if (typeof value === 'number') (times ??= {})[reason] = value;
  }
  return times;
}

const WAITS: ReadonlySet<string> = new Set(BLOCKED_REASONS);

export const isBlockedReason = (text: unknown): text is BlockedReason =>
  typeof text === 'string' && WAITS.has(text);
