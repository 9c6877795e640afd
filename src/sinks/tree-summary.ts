/** The table at the end: what was called how often, how long it took, and what was lost. */
import type { FunctionSummary, Summary } from './sink.js';
import { allocationLines } from './tree-allocations.js';
import { count, duration, type Paint, printable, table } from './tree-format.js';
import { valueLines } from './tree-values.js';

const HEAD = ['function', 'calls', 'spans', 'errors', 'min', 'p50', 'p99', 'max', 'total', 'self'];

export function renderSummary(summary: Summary, paint: Paint): string[] {
  const called = summary.functions
    .filter(({ calls }) => calls > 0)
    .sort((a, b) => b.totalNano - a.totalNano || b.calls - a.calls);
  const [head = '', ...rows] = table([HEAD, ...called.map(row)]);
  const silent = summary.functions.length - called.length;
  return [
    ...(called.length > 0 ? [paint.bold(head), ...rows] : ['no call was seen']),
    ...(silent > 0 && called.length > 0
      ? [paint.dim(`${count(silent)} more function${silent === 1 ? ' was' : 's were'} not called`)]
      : []),
    ...(summary.by ? valueLines(summary.by, paint) : []),
    '',
    `lost: ${lostLine(summary.lost)}`,
    ...contextLines(summary.contexts),
    ...foreignLines(summary.functions),
    ...(summary.valuesLost > 0 ? [`calls without their values: ${count(summary.valuesLost)}`] : []),
    ...(summary.waitsLost > 0 ? [`calls without their waits: ${count(summary.waitsLost)}`] : []),
    ...waitLines(called),
    ...(summary.allocations ? allocationLines(summary.allocations, paint) : []),
    ...(summary.suspensions > 0
      ? [`times that tracing was suspended to keep to the budget: ${count(summary.suspensions)}`]
      : []),
    `overhead: ${overheadLine(summary.overhead)}`,
  ];
}

function row(of: FunctionSummary): string[] {
  // Without a single return there are no durations.
  const ended = of.maxNano > 0 || of.totalNano > 0;
  const time = (ns: number): string => (ended ? duration(ns) : '-');
  return [
    printable(of.name),
    count(of.calls),
    count(of.spans),
    count(of.errors),
    time(of.minNano),
    time(of.p50Nano),
    time(of.p99Nano),
    time(of.maxNano),
    time(of.totalNano),
    time(of.selfNano),
  ];
}

export function lostLine(lost: Record<string, number>): string {
  const reasons = Object.entries(lost)
    .filter(([, calls]) => calls !== 0)
    .sort(([, a], [, b]) => b - a)
    .map(([reason, calls]) => `${words(reason)} ${count(calls)}`);
  return reasons.length > 0 ? reasons.join(', ') : 'nothing';
}

function contextLines({ unreadable, truncated }: Summary['contexts']): string[] {
  const cut =
    truncated > 0
      ? `, ${count(truncated)} behind too many wrappers (--context-hops looks through more)`
      : '';
  return unreadable > 0 ? [`contexts not found: ${count(unreadable)}${cut}`] : [];
}

/** Whoever sees no call of a function that the kernel runs all the time will want to know why. */
function foreignLines(functions: Summary['functions']): string[] {
  const hit = functions
    .filter(({ foreign }) => foreign > 0)
    .sort((a, b) => b.foreign - a.foreign)
    .map(({ name, foreign }) => `${printable(name)} ${count(foreign)}`);
  return hit.length > 0
    ? [`in interrupts or for probes, and no calls of the program: ${hit.join(', ')}`]
    : [];
}

const MOST_WAITERS = 10;

/** Those that waited longest, each with what it waited for most. */
function waitLines(functions: readonly FunctionSummary[]): string[] {
  const waiters = functions
    .map(({ name, waitedNano }) => {
      const reasons = Object.entries(waitedNano).sort(([, a], [, b]) => b - a);
      return { name, reasons, sum: reasons.reduce((sum, [, ns]) => sum + ns, 0) };
    })
    .filter(({ sum }) => sum > 0)
    .sort((a, b) => b.sum - a.sum);
  const lines = waiters.slice(0, MOST_WAITERS).map(({ name, reasons }) => {
    const most = reasons.slice(0, 3).map(([reason, ns]) => `${words(reason)} ${duration(ns)}`);
    return `  ${printable(name)}: ${most.join(', ')}`;
  });
  return lines.length > 0 ? ['waited for:', ...lines] : [];
}

/** "ringFull" → "ring full" */
function words(reason: string): string {
  return reason.replace(/[A-Z_-]/g, (letter) =>
    letter === '_' || letter === '-' ? ' ' : ` ${letter.toLowerCase()}`,
  );
}

export function overheadLine({ predicted, measured }: Summary['overhead']): string {
  const share = (value: number | null): string =>
    value === null ? 'unknown' : `${(value * 100).toFixed(value < 0.0995 ? 2 : 1)} % of a CPU`;
  return `predicted ${share(predicted)}, measured ${share(measured)}`;
}
