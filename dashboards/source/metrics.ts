/** The agent's metrics and their own labels: what a query may name. */
const FUNCTION = ['rule', 'executable', 'function'] as const;
const ATTACHMENT = ['rule', 'executable'] as const;
const HTTP = [
  ...ATTACHMENT,
  'http_route',
  'http_request_method',
  'http_response_status_code',
] as const;
const SINK = ['sink'] as const;

export const METRICS = {
  underspan_build_info: ['version', 'node_version', 'kernel'],
  underspan_function_duration_seconds_bucket: [...FUNCTION, 'le'],
  underspan_function_duration_seconds_count: FUNCTION,
  underspan_function_duration_seconds_sum: FUNCTION,
  underspan_function_calls_total: FUNCTION,
  underspan_function_errors_total: FUNCTION,
  underspan_function_spans_total: FUNCTION,
  underspan_function_waits_seconds_total: [...FUNCTION, 'reason'],
  underspan_function_foreign_hits_total: FUNCTION,
  underspan_http_uncounted_requests_total: ['rule'],
  underspan_spans_total: [],
  underspan_lost_calls_total: ['reason'],
  underspan_overhead_cpu_seconds_total: ATTACHMENT,
  underspan_overhead_predicted_cpu_seconds_total: ATTACHMENT,
  underspan_overhead_budget_ratio: ['rule'],
  underspan_governor_counted_functions: ['rule'],
  underspan_overhead_host_budget_ratio: [],
  underspan_governor_withdrawn_functions: ['rule'],
  underspan_governor_withdrawals_total: ['rule'],
  underspan_governor_thinned: ['rule'],
  underspan_targets: ATTACHMENT,
  underspan_probes_attached: ATTACHMENT,
  underspan_probes_detached_total: ['reason'],
  underspan_functions_attached: ATTACHMENT,
  underspan_functions_refused: [...ATTACHMENT, 'reason'],
  underspan_rule_ready: ['rule'],
  underspan_exporter_queue_spans: SINK,
  underspan_exporter_queue_bytes: SINK,
  underspan_exporter_spool_spans: SINK,
  underspan_exporter_spool_bytes: SINK,
  underspan_exporter_delivered_spans_total: SINK,
  underspan_exporter_lost_spans_total: [...SINK, 'reason'],
  underspan_exporter_repeated_spans_total: SINK,
  underspan_exporter_retries_total: SINK,
  underspan_bpf_run_seconds_total: ['program'],
  underspan_bpf_runs_total: ['program'],
  underspan_bpf_map_entries: ['map'],
  underspan_bpf_map_max_entries: ['map'],
  underspan_dropped_series: ['metric'],
  http_server_request_duration_seconds_bucket: [...HTTP, 'le'],
  http_server_request_duration_seconds_count: HTTP,
  up: [],
  process_cpu_seconds_total: [],
  process_resident_memory_bytes: [],
  process_start_time_seconds: [],
  process_open_fds: [],
  nodejs_eventloop_lag_p99_seconds: [],
  nodejs_heap_size_used_bytes: [],
} as const satisfies Record<string, readonly string[]>;

export type Metric = keyof typeof METRICS;
export type LabelOf<M extends Metric> = (typeof METRICS)[M][number];
