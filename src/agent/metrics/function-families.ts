/** What is counted of functions, and of the HTTP requests that some of them handle. */
import { PAUSE_BOUNDS_SECONDS } from '../../session/gc-pauses.js';
import { HTTP_BUCKETS_SECONDS, type AgentSnapshot, type FunctionSnapshot } from '../snapshot.js';
import { DURATION_BOUNDS_NS, durationBuckets } from './buckets.js';
import { waitsByReason } from '../../spans/waits.js';
import type { Family, Row } from './families.js';

/** The same functions stay in all of these: those with the most time, then with the most calls. */
function functionRows(
  snapshot: AgentSnapshot,
  counts: (statistics: FunctionSnapshot['statistics'], spans: number) => number[],
): Row[] {
  return snapshot.functions.map(({ rule, executable, name, index, spans, statistics }) => ({
    labels: [rule, executable, name],
    counts: counts(statistics, spans),
    rank: statistics.totalNs + statistics.calls,
    functionIndex: index,
  }));
}

/** A series for each reason that there was. */
function waitRows({ functions }: AgentSnapshot): Row[] {
  return functions.flatMap(({ rule, executable, name, index, statistics }) =>
    Object.entries(waitsByReason(statistics.waitedNs)).map(([reason, ns]) => ({
      labels: [rule, executable, name, reason],
      counts: [ns / 1e9],
      rank: ns,
      functionIndex: index,
    })),
  );
}

const isOfKernel = (name: string): boolean => name.startsWith('kernel:');

const FUNCTION_LABELS = ['rule', 'executable', 'function'];

export const FUNCTIONS: Family[] = [
  {
    name: 'underspan_function_duration_seconds',
    type: 'histogram',
    help: 'Durations of all calls that ended, whether they made a span or not.',
    labels: FUNCTION_LABELS,
    bounds: DURATION_BOUNDS_NS.map((ns) => ns / 1e9),
    read: (snapshot) =>
      functionRows(snapshot, ({ histogram, totalNs }) => [
        ...durationBuckets(histogram),
        totalNs / 1e9,
      ]),
  },
  {
    name: 'underspan_function_calls_total',
    type: 'counter',
    help: 'Calls that began.',
    labels: FUNCTION_LABELS,
    read: (snapshot) => functionRows(snapshot, ({ calls }) => [calls]),
  },
  {
    name: 'underspan_function_errors_total',
    type: 'counter',
    help: 'Calls that ended in an error: a non-nil error result, or a panic.',
    labels: FUNCTION_LABELS,
    read: (snapshot) => functionRows(snapshot, ({ errors }) => [errors]),
  },
  {
    name: 'underspan_function_spans_total',
    type: 'counter',
    help: 'Calls whose span was handed to the sinks.',
    labels: FUNCTION_LABELS,
    read: (snapshot) => functionRows(snapshot, (_, spans) => [spans]),
  },
  {
    name: 'underspan_function_waits_seconds_total',
    type: 'counter',
    help: 'Time that calls which ended did not run, with what ran beneath them, by what they waited for; where the rule says `waits`.',
    labels: [...FUNCTION_LABELS, 'reason'],
    read: waitRows,
  },
  {
    name: 'underspan_function_watched_calls_total',
    type: 'counter',
    help: 'Calls of which it is known what they waited for and allocated; the two metrics of that have no others.',
    labels: FUNCTION_LABELS,
    read: (snapshot) =>
      functionRows(
        {
          ...snapshot,
          functions: snapshot.functions.filter(({ statistics }) => statistics.watchedCalls > 0),
        },
        ({ watchedCalls }) => [watchedCalls],
      ),
  },
  {
    name: 'underspan_function_allocated_bytes_total',
    type: 'counter',
    help: 'Bytes that calls which ended have allocated, with what ran beneath; of rules with allocations.',
    labels: FUNCTION_LABELS,
    read: (snapshot) =>
      functionRows(
        {
          ...snapshot,
          functions: snapshot.functions.filter(({ statistics }) => statistics.allocations > 0),
        },
        ({ allocated }) => [allocated],
      ),
  },
  {
    name: 'underspan_gc_pause_seconds',
    type: 'histogram',
    help: "How long Go's garbage collector stopped the world each time; of rules with gc.",
    labels: ['rule', 'executable'],
    bounds: PAUSE_BOUNDS_SECONDS,
    read: ({ gcPauses }) =>
      gcPauses.map(({ rule, executable, buckets, sumNs }) => ({
        labels: [rule, executable],
        counts: [...buckets, sumNs / 1e9],
        rank: buckets.reduce((sum, count) => sum + count, 0),
      })),
  },
  {
    name: 'underspan_function_foreign_hits_total',
    type: 'counter',
    help: 'Hits of functions of the kernel that were no call of a target: in interrupts, or for a probe.',
    labels: FUNCTION_LABELS,
    read: (snapshot) =>
      functionRows(
        { ...snapshot, functions: snapshot.functions.filter(({ name }) => isOfKernel(name)) },
        ({ foreign }) => [foreign],
      ),
  },
  {
    name: 'http_server_request_duration_seconds',
    type: 'histogram',
    help: 'Durations of HTTP requests, as the calls of the functions that a rule names as handlers.',
    labels: [
      'rule',
      'executable',
      'http_route',
      'http_request_method',
      'http_response_status_code',
    ],
    bounds: HTTP_BUCKETS_SECONDS,
    read: ({ http }) =>
      http.map(({ rule, executable, route, method, status, buckets, sumNs }) => ({
        labels: [rule, executable, route, method, status === 0 ? '' : String(status)],
        counts: [...buckets, sumNs / 1e9],
        rank: buckets.reduce((sum, count) => sum + count, 0),
      })),
  },
  {
    name: 'underspan_http_uncounted_requests_total',
    type: 'counter',
    help: 'HTTP requests that are missing above, since the kernel had no room for another status or method.',
    labels: ['rule'],
    read: ({ httpUncounted }) =>
      httpUncounted.map(({ rule, requests }) => ({ labels: [rule], counts: [requests] })),
  },
];
