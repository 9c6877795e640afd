/** What spans say of what their calls waited for. */
import type { JsonSpan } from './tracer.js';

const PREFIX = 'underspan.time.';

/** Sums over all spans in ns, by what is behind the prefix. */
export function timesOf(spans: readonly JsonSpan[]): Record<string, number> {
  const times: Record<string, number> = {};
  for (const { attributes } of spans) {
    for (const [name, value] of Object.entries(attributes)) {
      if (!name.startsWith(PREFIX)) continue;
      const reason = name.slice(PREFIX.length);
      times[reason] = (times[reason] ?? 0) + Number(value);
    }
  }
  return times;
}

/** All that was no running. */
export function waitedOf(span: JsonSpan): number {
  return Object.entries(timesOf([span]))
    .filter(([reason]) => reason !== 'running')
    .reduce((sum, [, ns]) => sum + ns, 0);
}

/** What they were blocked by for most of the time. */
export function mainReason(spans: readonly JsonSpan[]): string | undefined {
  return Object.entries(timesOf(spans))
    .filter(([reason]) => reason !== 'running' && reason !== 'runnable')
    .sort(([, a], [, b]) => b - a)[0]?.[0];
}
