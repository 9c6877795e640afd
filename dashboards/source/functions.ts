/** Functions: which are called, how often they fail, how long they take. */
import { dashboard } from './layout.js';
import { toFunction, tracesOf } from './links.js';
import { bars, ceiling, heatMap, stat, table, timeSeries } from './panels.js';
import { increase, quantile, rate, selectBy, sum, top } from './queries.js';
import {
  AGENTS,
  DATA_SOURCES,
  executable,
  functions,
  rule,
  top as topVariable,
} from './variables.js';

const select = selectBy(rule, executable, functions);
const calls = rate(select('underspan_function_calls_total'));
const errors = rate(select('underspan_function_errors_total'));
const buckets = rate(select('underspan_function_duration_seconds_bucket'));
const seconds = rate(select('underspan_function_duration_seconds_sum'));
const requests = select('http_server_request_duration_seconds_count');
const requestBuckets = rate(select('http_server_request_duration_seconds_bucket'));

const BY = ['executable', 'function'];
const ROW = ['rule', ...BY];
const BUCKETS =
  'Counts are exact; a quantile is interpolated within a bucket, whose upper bound is twice its lower.';

/** The functions of the table: those that took most time while it was looked at. */
const largest = top(sum(increase(select('underspan_function_duration_seconds_sum')), ...ROW));
const ofLargest = (expression: string): string =>
  `${expression} and on (${ROW.join(', ')}) ${largest}`;
const total = (metric: 'calls' | 'errors'): string =>
  sum(increase(select(`underspan_function_${metric}_total`)), ...ROW);
const ranged = increase(select('underspan_function_duration_seconds_bucket'));

const links = [toFunction('series'), ...tracesOf('series')];

export const functionsDashboard = dashboard(
  'functions',
  'Functions',
  'Calls, errors and durations of the functions that the agents trace. Every call is counted, whether or not it became a span.',
  [...DATA_SOURCES, ...AGENTS, rule, executable, functions, topVariable],
  [
    {
      title: 'Overview',
      panels: [
        stat({
          size: [6, 4],
          title: 'Calls',
          description: 'Calls a second of all chosen functions.',
          unit: 'cps',
          queries: [{ expr: sum(calls), legend: 'calls' }],
        }),
        stat({
          size: [6, 4],
          title: 'Error ratio',
          description:
            'Share of calls that returned an error or ended in a panic, of all chosen functions.',
          unit: 'percentunit',
          min: 0,
          queries: [{ expr: `${sum(errors)} / ${sum(calls)}`, legend: 'errors' }],
          thresholds: ceiling(0.01, 0.05),
        }),
        stat({
          size: [6, 4],
          title: 'p99 duration',
          description: `What one call of a hundred exceeds, of all chosen functions together. ${BUCKETS}`,
          unit: 's',
          queries: [{ expr: quantile(0.99, buckets), legend: 'p99' }],
        }),
        stat({
          size: [6, 4],
          title: 'Functions with probes',
          description:
            'Functions that carry probes now, in the chosen rules and executables, summed over the agents.',
          unit: 'short',
          queries: [{ expr: sum(select('underspan_functions_attached')), legend: 'functions' }],
        }),
      ],
    },
    {
      title: 'Rate and errors',
      panels: [
        timeSeries({
          size: [12, 9],
          title: 'Calls by function',
          description: 'Calls a second of the functions that are called most.',
          unit: 'cps',
          min: 0,
          queries: [{ expr: top(sum(calls, ...BY)), legend: '{{function}}' }],
          links,
        }),
        timeSeries({
          size: [12, 9],
          title: 'Error ratio by function',
          description:
            'Share of calls that returned an error or ended in a panic, of the functions that fail most.',
          unit: 'percentunit',
          min: 0,
          queries: [
            {
              expr: top(`${sum(errors, ...BY)} / ${sum(calls, ...BY)}`),
              legend: '{{function}}',
            },
          ],
          links,
        }),
      ],
    },
    {
      title: 'Duration',
      panels: [
        timeSeries({
          size: [12, 10],
          title: 'Duration quantiles',
          description: `Of all chosen functions together. A diamond is a call that has a trace. ${BUCKETS}`,
          unit: 's',
          logarithmic: true,
          queries: [
            { expr: quantile(0.5, buckets), legend: 'p50' },
            { expr: quantile(0.95, buckets), legend: 'p95' },
            { expr: quantile(0.99, buckets), legend: 'p99', exemplar: true },
          ],
        }),
        heatMap({
          size: [12, 10],
          title: 'Durations',
          description:
            'Calls a second by their duration, one row for each power of two. A diamond is a call that has a trace.',
          unit: 's',
          queries: [{ expr: sum(buckets, 'le'), exemplar: true }],
        }),
        timeSeries({
          size: [12, 9],
          title: 'p99 by function',
          description: `What one call of a hundred exceeds, of the slowest functions. ${BUCKETS}`,
          unit: 's',
          logarithmic: true,
          queries: [{ expr: top(quantile(0.99, buckets, ...BY)), legend: '{{function}}' }],
          links,
        }),
        timeSeries({
          size: [12, 9],
          title: 'Calls in progress',
          description:
            'Seconds spent in a function for each second: how many of its calls run at once on average, those beneath them included.',
          unit: 'none',
          min: 0,
          decimals: 3,
          queries: [{ expr: top(sum(seconds, ...BY)), legend: '{{function}}' }],
          links,
        }),
      ],
    },
    {
      title: 'Top functions',
      panels: [
        table(
          {
            size: [24, 12],
            title: 'Top functions by total time',
            description:
              'The functions that took most time while it was looked at, those beneath them included. A name leads to the function in depth.',
            unit: 'short',
            queries: [
              { expr: largest },
              { expr: ofLargest(total('calls')) },
              { expr: ofLargest(`${total('errors')} / ${total('calls')}`) },
              {
                expr: ofLargest(
                  `${sum(increase(select('underspan_function_duration_seconds_sum')), ...ROW)} / ${sum(increase(select('underspan_function_duration_seconds_count')), ...ROW)}`,
                ),
              },
              { expr: ofLargest(quantile(0.99, ranged, ...ROW)) },
            ],
            links: [toFunction('row'), ...tracesOf('row')],
          },
          [
            { name: 'Total time', unit: 's', gauge: true },
            { name: 'Calls', unit: 'short' },
            { name: 'Error ratio', unit: 'percentunit', thresholds: ceiling(0.01, 0.05) },
            { name: 'Mean', unit: 's' },
            { name: 'p99', unit: 's' },
          ],
          'function',
        ),
        bars({
          size: [24, 8],
          title: 'Most called functions',
          description: 'Calls while it was looked at.',
          unit: 'short',
          min: 0,
          queries: [
            {
              expr: top(sum(increase(select('underspan_function_calls_total')), ...BY)),
              legend: '{{function}}',
            },
          ],
          links,
        }),
      ],
    },
    {
      title: 'HTTP routes',
      panels: [
        timeSeries({
          size: [12, 9],
          title: 'Requests by route',
          description:
            'Requests a second of the handlers that a rule names under `http`, by route and status. Empty where none does.',
          unit: 'reqps',
          min: 0,
          queries: [
            {
              expr: sum(rate(requests), 'http_route', 'http_response_status_code'),
              legend: '{{http_route}} {{http_response_status_code}}',
            },
          ],
        }),
        timeSeries({
          size: [12, 9],
          title: 'Request duration by route',
          description:
            'What one request of twenty exceeds, of the handlers that a rule names under `http`. Empty where none does.',
          unit: 's',
          min: 0,
          queries: [
            { expr: quantile(0.95, requestBuckets, 'http_route'), legend: '{{http_route}}' },
          ],
        }),
      ],
    },
  ],
);
