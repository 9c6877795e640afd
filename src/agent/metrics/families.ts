/** Every metric of the agent's own, and where in a snapshot its values are. docs/metrics.md has the same list. */
import { HTTP_BUCKETS_SECONDS, type AgentSnapshot, type FunctionSnapshot } from '../snapshot.js';
import { DURATION_BOUNDS_NS, durationBuckets } from './buckets.js';

/** One series as the snapshot has it; several with the same labels are added up. */
export interface Row {
  /** Values, in the order of the family's labels. */
  labels: string[];
  /** One number; of a histogram its buckets, not cumulative, and then its sum. */
  counts: number[];
  /** Which series stay where there are too many: those with more. The first count by default. */
  rank?: number;
  /** Whose exemplars it shows. */
  functionIndex?: number;
}

export interface Family {
  name: string;
  type: 'counter' | 'gauge' | 'histogram';
  help: string;
  labels: readonly string[];
  /** Of a histogram, in seconds. */
  bounds?: readonly number[];
  read(snapshot: AgentSnapshot): Row[];
}

export interface Build {
  version: string;
  node: string;
  kernel: string;
}

/** Filled in from what was left out of the others. */
export const DROPPED_SERIES: Omit<Family, 'read'> = {
  name: 'underspan_dropped_series',
  type: 'gauge',
  help: 'Series that are not shown, since the metric has more than metrics.maxSeries.',
  labels: ['metric'],
};

export function families(build: Build): Family[] {
  return [
    {
      name: 'underspan_build_info',
      type: 'gauge',
      help: 'Always 1. The labels say what runs.',
      labels: ['version', 'node_version', 'kernel'],
      read: () => [{ labels: [build.version, build.node, build.kernel], counts: [1] }],
    },
    ...FUNCTIONS,
    ...LOSSES,
    ...TARGETS,
    ...SINKS,
    ...KERNEL,
  ];
}

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

const FUNCTION_LABELS = ['rule', 'executable', 'function'];

const FUNCTIONS: Family[] = [
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

/** A row for each reason of a record of counts. */
function byReason(counts: Record<string, number>, ...labels: string[]): Row[] {
  return Object.entries(counts).map(([reason, count]) => ({
    labels: [...labels, reason],
    counts: [count],
  }));
}

const LOSSES: Family[] = [
  {
    name: 'underspan_spans_total',
    type: 'counter',
    help: 'Spans handed to the sinks.',
    labels: [],
    read: ({ spans }) => [{ labels: [], counts: [spans] }],
  },
  {
    name: 'underspan_lost_calls_total',
    type: 'counter',
    help: 'Calls that made no span, or whose span was lost, by reason.',
    labels: ['reason'],
    read: ({ lost }) => byReason(lost),
  },
];

function perAttachment(
  count: (attachment: AgentSnapshot['attachments'][number]) => number,
): (snapshot: AgentSnapshot) => Row[] {
  return ({ attachments }) =>
    attachments.map((attachment) => ({
      labels: [attachment.rule, attachment.executable],
      counts: [count(attachment)],
    }));
}

const ATTACHMENT_LABELS = ['rule', 'executable'];

const TARGETS: Family[] = [
  {
    name: 'underspan_overhead_cpu_seconds_total',
    type: 'counter',
    help: 'CPU time of the BPF programs that probes of this executable run.',
    labels: ATTACHMENT_LABELS,
    read: perAttachment(({ runTimeNs }) => runTimeNs / 1e9),
  },
  {
    name: 'underspan_overhead_budget_ratio',
    type: 'gauge',
    help: 'CPU time that tracing may add to a target, as a share of one CPU; 1 is no limit.',
    labels: ['rule'],
    read: ({ rules }) =>
      rules.map(({ name, maxOverhead }) => ({ labels: [name], counts: [maxOverhead] })),
  },
  {
    name: 'underspan_targets',
    type: 'gauge',
    help: 'Processes that are traced.',
    labels: ATTACHMENT_LABELS,
    read: perAttachment(({ pids }) => pids.length),
  },
  {
    name: 'underspan_probes_attached',
    type: 'gauge',
    help: 'Sites that carry a probe.',
    labels: ATTACHMENT_LABELS,
    read: perAttachment(({ sites }) => sites),
  },
  {
    name: 'underspan_probes_detached_total',
    type: 'counter',
    help: 'Sites whose probe was taken back, by reason.',
    labels: ['reason'],
    read: ({ detached }) => byReason(detached),
  },
  {
    name: 'underspan_functions_attached',
    type: 'gauge',
    help: 'Functions that are traced.',
    labels: ATTACHMENT_LABELS,
    read: perAttachment(({ functions }) => functions),
  },
  {
    name: 'underspan_functions_refused',
    type: 'gauge',
    help: 'Functions that a rule asks for and that got no probe, by reason.',
    labels: ['rule', 'executable', 'reason'],
    read: ({ refused }) =>
      refused.map(({ rule, executable, reason, functions }) => ({
        labels: [rule, executable, reason],
        counts: [functions],
      })),
  },
  {
    name: 'underspan_rule_ready',
    type: 'gauge',
    help: '1 where probes are attached as the rule says, else 0.',
    labels: ['rule'],
    read: ({ rules }) =>
      rules.map(({ name, state }) => ({
        labels: [name],
        counts: [state === 'ready' ? 1 : 0],
        rank: state === 'ready' ? 0 : 1,
      })),
  },
];

function perSink(
  count: (sink: AgentSnapshot['sinks'][number]) => number,
): (snapshot: AgentSnapshot) => Row[] {
  return ({ sinks }) => sinks.map((sink) => ({ labels: [sink.name], counts: [count(sink)] }));
}

const SINKS: Family[] = [
  {
    name: 'underspan_exporter_queue_spans',
    type: 'gauge',
    help: 'Spans that wait in memory.',
    labels: ['sink'],
    read: perSink(({ queuedSpans }) => queuedSpans),
  },
  {
    name: 'underspan_exporter_queue_bytes',
    type: 'gauge',
    help: 'Bytes of the spans that wait in memory.',
    labels: ['sink'],
    read: perSink(({ queuedBytes }) => queuedBytes),
  },
  {
    name: 'underspan_exporter_spool_spans',
    type: 'gauge',
    help: 'Spans that wait on disk.',
    labels: ['sink'],
    read: perSink(({ spooledSpans }) => spooledSpans),
  },
  {
    name: 'underspan_exporter_spool_bytes',
    type: 'gauge',
    help: 'Bytes of the spans that wait on disk.',
    labels: ['sink'],
    read: perSink(({ spooledBytes }) => spooledBytes),
  },
  {
    name: 'underspan_exporter_delivered_spans_total',
    type: 'counter',
    help: 'Spans that were delivered.',
    labels: ['sink'],
    read: perSink(({ delivered }) => delivered),
  },
  {
    name: 'underspan_exporter_lost_spans_total',
    type: 'counter',
    help: 'Spans that were given up, by reason.',
    labels: ['sink', 'reason'],
    read: ({ sinks }) => sinks.flatMap(({ name, lost }) => byReason(lost, name)),
  },
  {
    name: 'underspan_exporter_repeated_spans_total',
    type: 'counter',
    help: 'Spans that may have been delivered twice, since an answer was missed.',
    labels: ['sink'],
    read: perSink(({ repeated }) => repeated),
  },
  {
    name: 'underspan_exporter_retries_total',
    type: 'counter',
    help: 'Requests that were tried again.',
    labels: ['sink'],
    read: perSink(({ retries }) => retries),
  },
];

const KERNEL: Family[] = [
  {
    name: 'underspan_bpf_run_seconds_total',
    type: 'counter',
    help: 'CPU time of a BPF program.',
    labels: ['program'],
    read: ({ programs }) =>
      programs.map(({ program, runTimeNs }) => ({ labels: [program], counts: [runTimeNs / 1e9] })),
  },
  {
    name: 'underspan_bpf_runs_total',
    type: 'counter',
    help: 'Runs of a BPF program.',
    labels: ['program'],
    read: ({ programs }) =>
      programs.map(({ program, runCount }) => ({ labels: [program], counts: [runCount] })),
  },
  {
    name: 'underspan_bpf_map_entries',
    type: 'gauge',
    help: 'Entries of a BPF map.',
    labels: ['map'],
    read: ({ maps }) => maps.map(({ map, entries }) => ({ labels: [map], counts: [entries] })),
  },
  {
    name: 'underspan_bpf_map_max_entries',
    type: 'gauge',
    help: 'Entries for which a BPF map has room.',
    labels: ['map'],
    read: ({ maps }) =>
      maps.map(({ map, maxEntries }) => ({ labels: [map], counts: [maxEntries] })),
  },
];
