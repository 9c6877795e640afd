/** Every metric of the agent's own, and where in a snapshot its values are. docs/metrics.md has the same list. */
import type { AgentSnapshot, RuleSnapshot } from '../snapshot.js';
import { FUNCTIONS } from './function-families.js';

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
  /** A counter that may be ahead of itself for a moment: it stays, and is caught up with. */
  catchesUp?: boolean;
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
    name: 'underspan_gc_spans_total',
    type: 'counter',
    help: 'Of the spans handed to the sinks, those of garbage collectors, which are no calls.',
    labels: [],
    read: ({ gcSpans }) => [{ labels: [], counts: [gcSpans] }],
  },
  {
    name: 'underspan_lost_calls_total',
    type: 'counter',
    help: 'Calls that made no span, or whose span was lost, by reason.',
    labels: ['reason'],
    // A call whose record did not fit the ring can make a span all the same.
    catchesUp: true,
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

const perRule =
  (count: (governed: RuleSnapshot['governed']) => number): Family['read'] =>
  ({ rules }) =>
    rules.map(({ name, governed }) => ({ labels: [name], counts: [count(governed)] }));

const ATTACHMENT_LABELS = ['rule', 'executable'];

const TARGETS: Family[] = [
  {
    name: 'underspan_overhead_cpu_seconds_total',
    type: 'counter',
    help: 'CPU time that probes of this executable have taken: BPF programs, and the traps before them.',
    labels: ATTACHMENT_LABELS,
    read: perAttachment(({ spentNs }) => spentNs / 1e9),
  },
  {
    name: 'underspan_overhead_predicted_cpu_seconds_total',
    type: 'counter',
    help: 'CPU time that the plan says its calls take.',
    labels: ATTACHMENT_LABELS,
    read: perAttachment(({ predictedNs }) => predictedNs / 1e9),
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
    name: 'underspan_governor_counted_functions',
    type: 'gauge',
    help: 'Functions whose calls are only counted at the moment, since they cost more than the budget.',
    labels: ['rule'],
    read: perRule(({ counted }) => counted),
  },
  {
    name: 'underspan_overhead_host_budget_ratio',
    type: 'gauge',
    help: 'CPU time that tracing may add to the host, of all rules together, as a share of one CPU; absent: no limit.',
    labels: [],
    read: ({ hostBudget }) =>
      hostBudget === Infinity ? [] : [{ labels: [], counts: [hostBudget] }],
  },
  {
    name: 'underspan_governor_withdrawn_functions',
    type: 'gauge',
    help: 'Functions that are not traced at the moment, since they cost more than the budget.',
    labels: ['rule'],
    read: perRule(({ withdrawn }) => withdrawn),
  },
  {
    name: 'underspan_governor_withdrawals_total',
    type: 'counter',
    help: 'How often a function was withdrawn, since it cost more than the budget.',
    labels: ['rule'],
    read: perRule(({ withdrawals }) => withdrawals),
  },
  {
    name: 'underspan_governor_thinned',
    type: 'gauge',
    help: '1 where no call makes a span, since that would cost more than the budget, else 0.',
    labels: ['rule'],
    read: perRule(({ thinned }) => (thinned ? 1 : 0)),
  },
  {
    name: 'underspan_governor_suspended_executables',
    type: 'gauge',
    help: 'Executables that are not traced at all at the moment, since following stacks alone costs more than the budget.',
    labels: ['rule'],
    read: perRule(({ suspended }) => suspended),
  },
  {
    name: 'underspan_governor_unwatched',
    type: 'gauge',
    help: '1 while it is not looked at what calls wait for and allocate, since that costs more than they leave of the budget.',
    labels: ['rule'],
    read: perRule(({ unwatched }) => (unwatched ? 1 : 0)),
  },
  {
    name: 'underspan_governor_suspensions_total',
    type: 'counter',
    help: 'How often all probes of an executable were taken back for a while, since following stacks alone cost more than the budget.',
    labels: ['rule'],
    read: perRule(({ suspensions }) => suspensions),
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
    help: 'CPU time of a BPF program, estimated from samples.',
    labels: ['program'],
    read: ({ programs }) =>
      programs.map(({ program, runTimeNs }) => ({ labels: [program], counts: [runTimeNs / 1e9] })),
  },
  {
    name: 'underspan_bpf_runs_total',
    type: 'counter',
    help: 'Runs of a BPF program, estimated from samples.',
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
