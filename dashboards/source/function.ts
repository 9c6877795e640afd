/** A function in depth: everything that is counted of one function. */
import { dashboard } from './layout.js';
import { TRACES_OF_CHOSEN } from './links.js';
import { bars, ceiling, heatMap, stat, timeSeries } from './panels.js';
import { increase, quantile, rate, selectBy, sum } from './queries.js';
import { AGENTS, DATA_SOURCES, executable, oneFunction, rule } from './variables.js';

const select = selectBy(rule, executable, oneFunction);
const calls = rate(select('underspan_function_calls_total'));
const errors = rate(select('underspan_function_errors_total'));
const buckets = rate(select('underspan_function_duration_seconds_bucket'));
const seconds = rate(select('underspan_function_duration_seconds_sum'));
const returns = rate(select('underspan_function_duration_seconds_count'));
const ofProgram = selectBy(rule, executable);
const pauses = rate(ofProgram('underspan_gc_pause_seconds_bucket'));

/** From calls that were looked at to all. */
const scaled = (expr: string): string =>
  `${expr} * scalar(${sum(returns)} / ${sum(rate(select('underspan_function_watched_calls_total')))})`;

const BUCKETS =
  'Counts are exact; a quantile is interpolated within a bucket, whose upper bound is twice its lower.';
const links = TRACES_OF_CHOSEN;

export const functionDashboard = dashboard(
  'function',
  'A function in depth',
  'One function: its calls, errors and durations, by executable and agent. Every call is counted, whether or not it became a span.',
  [...DATA_SOURCES, ...AGENTS, rule, executable, oneFunction],
  [
    {
      title: 'Overview',
      panels: [
        stat({
          size: [4, 4],
          title: 'Calls',
          description: 'Calls a second.',
          unit: 'cps',
          queries: [{ expr: sum(calls), legend: 'calls' }],
          links,
        }),
        stat({
          size: [4, 4],
          title: 'Error ratio',
          description: 'Share of calls that returned an error or ended in a panic.',
          unit: 'percentunit',
          min: 0,
          queries: [{ expr: `${sum(errors)} / ${sum(calls)}`, legend: 'errors' }],
          thresholds: ceiling(0.01, 0.05),
          links,
        }),
        stat({
          size: [4, 4],
          title: 'Mean duration',
          description: 'Time of all calls that ended, by their number. Exact.',
          unit: 's',
          queries: [{ expr: `${sum(seconds)} / ${sum(returns)}`, legend: 'mean' }],
          links,
        }),
        stat({
          size: [4, 4],
          title: 'Median duration',
          description: `What half of the calls exceed. ${BUCKETS}`,
          unit: 's',
          queries: [{ expr: quantile(0.5, buckets), legend: 'p50' }],
          links,
        }),
        stat({
          size: [4, 4],
          title: 'p99 duration',
          description: `What one call of a hundred exceeds. ${BUCKETS}`,
          unit: 's',
          queries: [{ expr: quantile(0.99, buckets), legend: 'p99' }],
          links,
        }),
        stat({
          size: [4, 4],
          title: 'Calls in progress',
          description:
            'Seconds spent in the function for each second: how many of its calls run at once on average.',
          unit: 'none',
          decimals: 3,
          queries: [{ expr: sum(seconds), legend: 'calls' }],
          links,
        }),
      ],
    },
    {
      title: 'Rate, errors, duration',
      panels: [
        timeSeries({
          size: [12, 9],
          title: 'Calls and errors',
          description: 'Calls a second, and those that returned an error or ended in a panic.',
          unit: 'cps',
          min: 0,
          queries: [
            { expr: sum(calls), legend: 'calls' },
            { expr: sum(errors), legend: 'errors' },
          ],
          links,
        }),
        timeSeries({
          size: [12, 9],
          title: 'Duration quantiles and mean',
          description: `A diamond is a call that has a trace. The mean is exact. ${BUCKETS}`,
          unit: 's',
          logarithmic: true,
          queries: [
            { expr: quantile(0.5, buckets), legend: 'p50' },
            { expr: quantile(0.9, buckets), legend: 'p90' },
            { expr: quantile(0.95, buckets), legend: 'p95' },
            { expr: quantile(0.99, buckets), legend: 'p99', exemplar: true },
            { expr: `${sum(seconds)} / ${sum(returns)}`, legend: 'mean' },
          ],
          links,
        }),
        heatMap({
          size: [12, 10],
          title: 'Durations',
          description:
            'Calls a second by their duration, one row for each power of two. A diamond is a call that has a trace.',
          unit: 's',
          queries: [{ expr: sum(buckets, 'le'), exemplar: true }],
        }),
        bars(
          {
            size: [12, 10],
            title: 'Distribution of durations',
            description:
              'Calls while it was looked at, by the upper bound of their duration in seconds.',
            unit: 'short',
            min: 0,
            queries: [
              {
                expr: sum(increase(select('underspan_function_duration_seconds_bucket')), 'le'),
                legend: '{{le}}',
              },
            ],
          },
          true,
        ),
      ],
    },
    {
      title: 'Where it runs',
      panels: [
        timeSeries({
          size: [12, 8],
          title: 'Calls by executable',
          description: 'Calls a second.',
          unit: 'cps',
          min: 0,
          stacked: true,
          queries: [{ expr: sum(calls, 'executable'), legend: '{{executable}}' }],
          links,
        }),
        timeSeries({
          size: [12, 8],
          title: 'p99 by executable',
          description: `What one call of a hundred exceeds. ${BUCKETS}`,
          unit: 's',
          logarithmic: true,
          queries: [{ expr: quantile(0.99, buckets, 'executable'), legend: '{{executable}}' }],
          links,
        }),
        timeSeries({
          size: [12, 8],
          title: 'Calls by agent',
          description: 'Calls a second, by the agent that counted them.',
          unit: 'cps',
          min: 0,
          stacked: true,
          queries: [{ expr: sum(calls, 'node', 'instance'), legend: '{{node}} {{instance}}' }],
          links,
        }),
        timeSeries({
          size: [12, 8],
          title: 'p99 by agent',
          description: `What one call of a hundred exceeds, by the agent that counted it: a node that is slower than the others shows. ${BUCKETS}`,
          unit: 's',
          logarithmic: true,
          queries: [
            {
              expr: quantile(0.99, buckets, 'node', 'instance'),
              legend: '{{node}} {{instance}}',
            },
          ],
          links,
        }),
      ],
    },
    {
      title: 'What is seen of it',
      panels: [
        timeSeries({
          size: [24, 8],
          title: 'What calls waited for',
          description:
            'Time that calls did not run, a second, by what they waited for: 1 is one call at any time. Of rules that say `waits`; what ran beneath a call is in it. Where not all calls were looked at, to keep to the budget, it is scaled to all.',
          unit: 's',
          min: 0,
          queries: [
            {
              expr: scaled(sum(rate(select('underspan_function_waits_seconds_total')), 'reason')),
              legend: '{{reason}}',
            },
          ],
          links,
        }),
        timeSeries({
          size: [12, 8],
          title: 'Memory that calls allocated',
          description:
            'Bytes a second, with what ran beneath; estimated from what the runtime samples. Of rules that say `allocations`.',
          unit: 'Bps',
          min: 0,
          queries: [
            {
              expr: scaled(sum(rate(select('underspan_function_allocated_bytes_total')))),
              legend: 'allocated',
            },
          ],
          links,
        }),
        timeSeries({
          size: [12, 8],
          title: 'Pauses of the garbage collector',
          description:
            'Of Go programs in which the function runs: how long the world was stopped each time. Of rules that say `gc`.',
          unit: 's',
          min: 0,
          queries: [
            { expr: quantile(0.5, pauses), legend: 'p50' },
            { expr: quantile(0.99, pauses), legend: 'p99' },
            {
              expr: `${sum(rate(ofProgram('underspan_gc_pause_seconds_sum')))} / ${sum(rate(ofProgram('underspan_gc_pause_seconds_count')))}`,
              legend: 'mean',
            },
          ],
        }),
        timeSeries({
          size: [12, 8],
          title: 'Calls that ended',
          description:
            'Calls whose return was seen, by calls that began. Less than all where calls are long, where only entries are watched, or where a call ended in a way that was not seen; more for a moment where long calls end.',
          unit: 'percentunit',
          min: 0,
          queries: [{ expr: `${sum(returns)} / ${sum(calls)}`, legend: 'ended' }],
        }),
        timeSeries({
          size: [12, 8],
          title: 'Spans kept against calls',
          description:
            'Spans that were handed to the sinks, and calls, a second. "What tracing costs" says why a call made no span. Of functions of the kernel: hits in interrupts, which are no calls of the program.',
          unit: 'cps',
          min: 0,
          queries: [
            { expr: sum(rate(select('underspan_function_spans_total'))), legend: 'spans' },
            { expr: sum(calls), legend: 'calls' },
            {
              expr: sum(rate(select('underspan_function_foreign_hits_total'))),
              legend: 'of the kernel, in interrupts',
            },
          ],
          links,
        }),
      ],
    },
  ],
);
