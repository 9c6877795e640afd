/** The agent's metrics as they are scraped, each with its own labels. */
const FUNCTION = ['rule', 'executable', 'function'];
const ATTACHMENT = ['rule', 'executable'];
const HTTP = [...ATTACHMENT, 'http_route', 'http_request_method', 'http_response_status_code'];

export const METRIC_LABELS: Readonly<Record<string, readonly string[]>> = {
  underspan_build_info: ['version', 'node_version', 'kernel'],
  underspan_function_duration_seconds_bucket: [...FUNCTION, 'le'],
  underspan_function_duration_seconds_count: FUNCTION,
  underspan_function_duration_seconds_sum: FUNCTION,
  underspan_function_calls_total: FUNCTION,
  underspan_function_errors_total: FUNCTION,
  underspan_function_spans_total: FUNCTION,
  underspan_http_uncounted_requests_total: ['rule'],
  underspan_spans_total: [],
  underspan_lost_calls_total: ['reason'],
  underspan_overhead_cpu_seconds_total: ATTACHMENT,
  underspan_overhead_budget_ratio: ['rule'],
  underspan_targets: ATTACHMENT,
  underspan_probes_attached: ATTACHMENT,
  underspan_probes_detached_total: ['reason'],
  underspan_functions_attached: ATTACHMENT,
  underspan_functions_refused: [...ATTACHMENT, 'reason'],
  underspan_rule_ready: ['rule'],
  underspan_exporter_queue_spans: ['sink'],
  underspan_exporter_queue_bytes: ['sink'],
  underspan_exporter_spool_spans: ['sink'],
  underspan_exporter_spool_bytes: ['sink'],
  underspan_exporter_delivered_spans_total: ['sink'],
  underspan_exporter_lost_spans_total: ['sink', 'reason'],
  underspan_exporter_repeated_spans_total: ['sink'],
  underspan_exporter_retries_total: ['sink'],
  underspan_bpf_run_seconds_total: ['program'],
  underspan_bpf_runs_total: ['program'],
  underspan_bpf_map_entries: ['map'],
  underspan_bpf_map_max_entries: ['map'],
  underspan_dropped_series: ['metric'],
  http_server_request_duration_seconds_bucket: [...HTTP, 'le'],
  http_server_request_duration_seconds_count: HTTP,
  http_server_request_duration_seconds_sum: HTTP,
};

/** What Prometheus makes itself for each target. */
export const DEFAULT_METRICS_OF_PROMETHEUS = ['up'];

/** Labels that a scrape adds; all but the last two are there in Kubernetes only. */
export const TARGET_LABELS: readonly string[] = ['namespace', 'node', 'job', 'instance'];
