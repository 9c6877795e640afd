/** The verdict as a sentence. */
import { count, duration, printable } from '../sinks/tree-format.js';
import type { Reason } from './verdict.js';
import type { WhyReport } from './analysis.js';

const REASONS: Record<Reason, string> = {
  running: 'computing',
  runnable: 'waiting for a CPU',
  throttled: 'held back by its CPU limit',
  mutex: 'waiting for a mutex',
  semaphore: 'waiting for a semaphore',
  condition: 'waiting for a condition',
  channel_receive: 'waiting to receive from a channel',
  channel_send: 'waiting to send to a channel',
  select: 'waiting in a select',
  network: 'waiting for the network',
  sleep: 'sleeping',
  gc_assist: 'helping the garbage collector',
  futex: 'waiting for a futex',
  io: 'waiting for I/O',
  page_fault: 'waiting for a page of memory',
  system_call: 'in a system call',
  other: 'waiting',
  allocation: 'allocating memory',
  calls: 'calling too often',
  error: 'failing',
};

export const reasonText = (reason: Reason): string => REASONS[reason];

export function sentenceOf(report: WhyReport): string {
  const { verdict, request, requests, slow } = report;
  if (!verdict) return nothingText(report);
  const { error, mark } = verdict;
  const name = printable(verdict.function);
  const often = `${count(slow)} times of ${count(requests)}`;
  const marked = mark
    ? `; ${printable(mark.key)} is ${printable(mark.value)} in ${count(mark.slow)} of ${count(mark.ofSlow)}, and in ${count(mark.normal)} of ${count(mark.ofNormal)} others`
    : '';
  if (error) {
    const message = error.message ?? error.type;
    const text = message === null ? '' : `: ${printable(message)}`;
    return `${printable(request)} failed ${often}: ${name} returned an error in ${count(verdict.agree)} of ${count(verdict.of)}${text}${marked}`;
  }
  if (report.alone) {
    // Of all its time, for want of anything to compare with.
    return (
      `${printable(request)} was slow ${often}, and no other is there to compare with: most of its time, ${duration(verdict.differenceNs)}, is in ${name}${why(report)}; ` +
      `${count(verdict.agree)} of ${count(verdict.of)} slow requests agree${marked}`
    );
  }
  return (
    `${printable(request)} was slow ${often}: ${duration(Math.max(0, verdict.differenceNs))} in ${name}${why(report)}; ` +
    `${count(verdict.agree)} of ${count(verdict.of)} slow requests agree${marked}`
  );
}

function why({ verdict }: WhyReport): string {
  if (!verdict) return '';
  const { reason, calls, by, allocated } = verdict;
  if (calls) {
    const times = (value: number): string => String(Math.round(value * 10) / 10);
    return ` calling ${printable(calls.function)} ${times(calls.slow)} times, normally ${times(calls.normal)}`;
  }
  if (reason === null) return '';
  const whom =
    by === null
      ? ''
      : reason === 'mutex' || reason === 'semaphore' || reason === 'futex'
        ? ` that ${printable(by.function)} held`
        : ` until ${printable(by.function)} came`;
  const bytes =
    reason === 'allocation' ? ` (${(allocated / 2 ** 20).toFixed(0)} MiB more a request)` : '';
  return ` ${reasonText(reason)}${whom}${bytes}`;
}

const suspectText = ({ suspect }: WhyReport): string =>
  suspect
    ? `; ${count(suspect.agree)} of ${count(suspect.of)} in ${printable(suspect.function)}`
    : '';

function nothingText(report: WhyReport): string {
  const { nothing, request, requests, slow, criterion } = report;
  const name = printable(request);
  if (requests === 0) return 'no request was seen to its end';
  if (slow === 0 && criterion.kind === 'errors')
    return `nothing failed in ${count(requests)} requests`;
  if (slow === 0 && criterion.kind === 'slower-than') {
    return `none of ${count(requests)} requests was slower than ${duration(criterion.ns)}`;
  }
  const seen = `${name}, ${count(slow)} slow of ${count(requests)}`;
  switch (nothing) {
    case 'cpu':
      return `no function stands out: the slow requests waited for a CPU (${seen})`;
    case 'outside':
      return `no traced function stands out: the slow requests lost their time where nothing is traced (${seen})`;
    case 'scattered':
      return `nothing stands out: the slow requests do not agree where they were slow (${seen}${suspectText(report)})`;
    case 'few':
      return `nothing stands out: too few requests to tell (${seen})`;
    default:
      return `nothing stands out (${name}, ${count(requests)} requests)`;
  }
}
