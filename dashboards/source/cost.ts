/** What tracing costs: overhead against the budget, losses, kernel resources, export. */
import { dashboard } from './layout.js';
import { bars, ceiling, none, stat, timeSeries } from './panels.js';
import { rate, selectBy, sum } from './queries.js';
import { AGENTS, METRICS_SOURCE, executable, rule } from './variables.js';

const select = selectBy(rule, executable);
const overhead = rate(select('underspan_overhead_cpu_seconds_total'));
const predicted = rate(select('underspan_overhead_predicted_cpu_seconds_total'));
const calls = rate(select('underspan_function_calls_total'));
const spans = rate(select('underspan_spans_total'));
const runTime = rate(select('underspan_bpf_run_seconds_total'));
const runs = rate(select('underspan_bpf_runs_total'));

const ATTACHMENT = ['rule', 'executable'];
const AGENT = ['job', 'instance'];

/** Reasons of docs/losses.md that the configuration asks for. */
const ASKED = 'tooShort|unsampled|sampledOut|rate|rootless|filtered|folded|entryOnly|limit';
const lost = rate(select('underspan_lost_calls_total'));
const lostUnasked = rate(select('underspan_lost_calls_total', { reason: `!~"${ASKED}"` }));

/** The budget is for each process, and so overhead is divided by the processes that share it. */
const budgetShare =
  `${sum(overhead, ...AGENT, ...ATTACHMENT)}` +
  ` / (${sum(`${select('underspan_targets')} > 0`, ...AGENT, ...ATTACHMENT)}` +
  ` * on (${AGENT.join(', ')}, rule) group_left ` +
  `max by (${AGENT.join(', ')}, rule) (${select('underspan_overhead_budget_ratio')}))`;

const mapFill =
  `max by (map) (${select('underspan_bpf_map_entries')}` +
  ` / (${select('underspan_bpf_map_max_entries')} > 0))`;

export const costDashboard = dashboard(
  'cost',
  'What tracing costs',
  'CPU time that tracing adds to what is traced, against its budget; calls that made no span, and why; what the kernel and the exporter hold.',
  [...METRICS_SOURCE, ...AGENTS, rule, executable],
  [
    {
      title: 'Overview',
      panels: [
        stat({
          size: [6, 4],
          title: 'Overhead',
          description:
            'CPU time that probes take of all that is traced: our programs by samples that the kernel times, and the traps before them; 100 % is one CPU.',
          unit: 'percentunit',
          min: 0,
          queries: [{ expr: sum(overhead), legend: 'overhead' }],
        }),
        stat({
          size: [6, 4],
          title: 'Largest share of a budget',
          description:
            'Overhead for each process, as a share of what its rule allows; of the rule and executable where that is most.',
          unit: 'percentunit',
          min: 0,
          queries: [{ expr: `max(${budgetShare})`, legend: 'share' }],
          thresholds: ceiling(0.8, 1),
        }),
        stat({
          size: [6, 4],
          title: 'Cost of a call',
          description: 'CPU time that probes take, by traced calls.',
          unit: 's',
          queries: [{ expr: `${sum(overhead)} / ${sum(calls)}`, legend: 'per call' }],
        }),
        stat({
          size: [6, 4],
          title: 'Calls lost against intent',
          description:
            'Calls a second that made no span for a reason that no configuration asks for.',
          unit: 'cps',
          min: 0,
          queries: [{ expr: sum(lostUnasked), legend: 'lost' }],
          thresholds: none(),
        }),
      ],
    },
    {
      title: 'Overhead',
      panels: [
        timeSeries({
          size: [8, 9],
          title: 'Overhead by rule and executable',
          description:
            'CPU time that probes take, summed over the processes and agents; 100 % is one CPU.',
          unit: 'percentunit',
          min: 0,
          stacked: true,
          queries: [{ expr: sum(overhead, ...ATTACHMENT), legend: '{{rule}}: {{executable}}' }],
        }),
        timeSeries({
          size: [8, 9],
          title: 'Predicted and measured',
          description:
            'What the plans say that the calls take, by the costs of each host, and what was measured; 100 % is one CPU.',
          unit: 'percentunit',
          min: 0,
          queries: [
            { expr: sum(predicted), legend: 'predicted' },
            { expr: sum(overhead), legend: 'measured' },
          ],
        }),
        timeSeries({
          size: [8, 9],
          title: 'Overhead against the budget',
          description:
            'Overhead for each process by what its rule allows (`maxOverhead`), on the agent where that is most. Above 100 % the budget is exceeded.',
          unit: 'percentunit',
          min: 0,
          queries: [
            {
              expr: `max by (${ATTACHMENT.join(', ')}) (${budgetShare})`,
              legend: '{{rule}}: {{executable}}',
            },
          ],
          thresholds: ceiling(0.8, 1),
        }),
        timeSeries({
          size: [12, 8],
          title: 'Cost of a call by executable',
          description:
            'CPU time that probes take, by traced calls. It rises where contexts lie deep or values are read.',
          unit: 's',
          min: 0,
          queries: [
            {
              expr: `${sum(overhead, ...ATTACHMENT)} / ${sum(calls, ...ATTACHMENT)}`,
              legend: '{{rule}}: {{executable}}',
            },
          ],
        }),
        timeSeries({
          size: [12, 8],
          title: 'Budgets',
          description:
            'CPU time that tracing may add to a process, by rule, where 100 % is one CPU, and no limit; and to a host, by all rules together.',
          unit: 'percentunit',
          min: 0,
          queries: [
            {
              expr: `max by (rule) (${select('underspan_overhead_budget_ratio')})`,
              legend: '{{rule}}',
            },
            {
              expr: `max(${select('underspan_overhead_host_budget_ratio')})`,
              legend: 'all rules on a host',
            },
          ],
        }),
        timeSeries({
          size: [12, 8],
          title: 'Functions that cost more than the budget',
          description:
            'Functions whose calls are only counted at the moment, those that are not traced at all, and those that have just been withdrawn, by the minute: what is looked at again may be withdrawn again. And executables that are not traced at all for a while, since following stacks alone costs more than the budget.',
          unit: 'short',
          min: 0,
          queries: [
            {
              expr: `sum by (rule) (${select('underspan_governor_withdrawn_functions')})`,
              legend: '{{rule}}: withdrawn',
            },
            {
              expr: `sum by (rule) (${select('underspan_governor_counted_functions')})`,
              legend: '{{rule}}: only counted',
            },
            {
              expr: `60 * ${sum(rate(select('underspan_governor_withdrawals_total')), 'rule')}`,
              legend: '{{rule}}: by the minute',
            },
            {
              expr: `sum by (rule) (${select('underspan_governor_suspended_executables')})`,
              legend: '{{rule}}: whole executables',
            },
            {
              expr: `60 * ${sum(rate(select('underspan_governor_suspensions_total')), 'rule')}`,
              legend: '{{rule}}: whole executables, by the minute',
            },
          ],
        }),
        timeSeries({
          size: [12, 8],
          title: 'Without spans',
          description:
            'Agents on which calls of the rule are only counted, since spans would cost more than the budget; and those that do not look at what calls wait for, since that costs more than they leave of it.',
          unit: 'short',
          min: 0,
          queries: [
            {
              expr: `sum by (rule) (${select('underspan_governor_thinned')})`,
              legend: '{{rule}}',
            },
            {
              expr: `sum by (rule) (${select('underspan_governor_unwatched')})`,
              legend: '{{rule}}: without what calls wait for',
            },
          ],
        }),
      ],
    },
    {
      title: 'Losses',
      panels: [
        timeSeries({
          size: [12, 9],
          title: 'Calls without a span, by reason',
          description: 'Calls a second that made no span. docs/losses.md explains each reason.',
          unit: 'cps',
          min: 0,
          stacked: true,
          queries: [{ expr: sum(lost, 'reason'), legend: '{{reason}}' }],
        }),
        timeSeries({
          size: [12, 9],
          title: 'Losses that nobody asked for, by reason',
          description:
            'Without those that a filter, sampling or a rate asks for: what remains calls for a change.',
          unit: 'cps',
          min: 0,
          queries: [{ expr: sum(lostUnasked, 'reason'), legend: '{{reason}}' }],
          thresholds: none(),
        }),
        timeSeries({
          size: [8, 8],
          title: 'Spans and calls',
          description: 'Spans handed to the sinks, and calls counted, of all rules of the agents.',
          unit: 'cps',
          min: 0,
          queries: [
            { expr: sum(spans), legend: 'spans' },
            {
              expr: sum(rate(select('underspan_gc_spans_total'))),
              legend: 'of those, of garbage collectors',
            },
            { expr: sum(rate(selectBy()('underspan_function_calls_total'))), legend: 'calls' },
          ],
        }),
        timeSeries({
          size: [8, 8],
          title: 'HTTP requests not counted',
          description:
            "Requests a second that found no room among the kernel's counts of handlers, methods and statuses. Empty where no rule names a handler.",
          unit: 'reqps',
          min: 0,
          queries: [
            {
              expr: sum(rate(select('underspan_http_uncounted_requests_total')), 'rule'),
              legend: '{{rule}}',
            },
          ],
          thresholds: none(),
        }),
        timeSeries({
          size: [8, 8],
          title: 'Series beyond the cap',
          description:
            'Series that a metric leaves out since it has as many as the configuration allows (`maxSeries`).',
          unit: 'short',
          min: 0,
          queries: [
            {
              expr: sum(select('underspan_dropped_series'), 'metric'),
              legend: '{{metric}}',
            },
          ],
          thresholds: none(),
        }),
      ],
    },
    {
      title: 'In the kernel',
      panels: [
        timeSeries({
          size: [12, 8],
          title: 'BPF run time by program',
          description:
            'CPU time of each of our programs, estimated from samples; 100 % is one CPU.',
          unit: 'percentunit',
          min: 0,
          stacked: true,
          queries: [{ expr: sum(runTime, 'program'), legend: '{{program}}' }],
        }),
        timeSeries({
          size: [12, 8],
          title: 'Time of one run by program',
          description: 'CPU time of a program by its runs.',
          unit: 's',
          min: 0,
          queries: [
            {
              expr: `${sum(runTime, 'program')} / (${sum(runs, 'program')} > 0)`,
              legend: '{{program}}',
            },
          ],
        }),
        bars({
          size: [24, 8],
          title: 'Fill of BPF maps',
          description:
            'Elements by the most that a map holds, on the agent where that is most. A full map loses calls as `tableFull`.',
          unit: 'percentunit',
          min: 0,
          max: 1,
          queries: [{ expr: mapFill, legend: '{{map}}' }],
          thresholds: ceiling(0.7, 0.9),
        }),
      ],
    },
    {
      title: 'Export',
      panels: [
        timeSeries({
          size: [8, 8],
          title: 'Spans that wait',
          description: 'In the queue in memory and in the spool on disk.',
          unit: 'short',
          min: 0,
          queries: [
            {
              expr: sum(select('underspan_exporter_queue_spans'), 'sink'),
              legend: '{{sink}} queue',
            },
            {
              expr: sum(select('underspan_exporter_spool_spans'), 'sink'),
              legend: '{{sink}} spool',
            },
          ],
        }),
        timeSeries({
          size: [8, 8],
          title: 'Bytes that wait',
          description: 'In the queue in memory and in the spool on disk.',
          unit: 'bytes',
          min: 0,
          queries: [
            {
              expr: sum(select('underspan_exporter_queue_bytes'), 'sink'),
              legend: '{{sink}} queue',
            },
            {
              expr: sum(select('underspan_exporter_spool_bytes'), 'sink'),
              legend: '{{sink}} spool',
            },
          ],
        }),
        timeSeries({
          size: [8, 8],
          title: 'Retries',
          description:
            'Requests a second that were tried again, and spans that may have been delivered twice since an answer was missed.',
          unit: 'cps',
          min: 0,
          queries: [
            {
              expr: sum(rate(select('underspan_exporter_retries_total')), 'sink'),
              legend: '{{sink}} retries',
            },
            {
              expr: sum(rate(select('underspan_exporter_repeated_spans_total')), 'sink'),
              legend: '{{sink}} repeated spans',
            },
          ],
        }),
      ],
    },
  ],
);
