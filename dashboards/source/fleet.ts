/** Agent fleet: which agents run, what they have attached, how they are themselves. */
import { dashboard } from './layout.js';
import {
  ceiling,
  instantStat,
  none,
  stat,
  states,
  table,
  timeSeries,
  type PanelOptions,
  type SizedPanel,
} from './panels.js';
import { increase, ofAgents, rate, selectBy, sum } from './queries.js';
import { AGENTS, METRICS_SOURCE, rule } from './variables.js';

const select = selectBy(rule);
const WHERE = ['node', 'instance'];
const WHERE_LEGEND = '{{node}} {{instance}}';

/** A target of a job that had an agent within the day: an agent, also while it is down. */
const down = `(${select('up')} == bool 0) and on (job) last_over_time(${selectBy()('underspan_build_info')}[1d])`;
const restarts = ofAgents(select, `changes(${select('process_start_time_seconds')}[$__range])`);

/** What each agent uses, by a metric that other programs have too. */
function byAgent(panel: Omit<PanelOptions, 'size' | 'queries'> & { expr: string }): SizedPanel {
  const { expr, ...rest } = panel;
  const queries = [{ expr: sum(ofAgents(select, expr), ...WHERE), legend: WHERE_LEGEND }];
  return timeSeries({ size: [8, 8], min: 0, queries, ...rest });
}

export const fleetDashboard = dashboard(
  'fleet',
  'Agent fleet',
  'The agents themselves: which run, whether their rules are ready, what they have attached, what they use and deliver.',
  [...METRICS_SOURCE, ...AGENTS, rule],
  [
    {
      title: 'Overview',
      panels: [
        stat({
          size: [4, 4],
          title: 'Agents up',
          description: 'Agents that were scraped.',
          unit: 'short',
          queries: [{ expr: `count(${select('underspan_build_info')})`, legend: 'agents' }],
        }),
        stat({
          size: [4, 4],
          title: 'Agents down',
          description: 'Scrape targets of the agents that did not answer.',
          unit: 'short',
          queries: [{ expr: sum(down), legend: 'agents' }],
          thresholds: none(),
        }),
        stat({
          size: [4, 4],
          title: 'Rules not ready',
          description: 'Rules of agents whose probes are not attached as configured.',
          unit: 'short',
          queries: [{ expr: sum(`${select('underspan_rule_ready')} == bool 0`), legend: 'rules' }],
          thresholds: none(),
        }),
        stat({
          size: [4, 4],
          title: 'Traced processes',
          description: 'Processes that fall under a rule and carry probes.',
          unit: 'short',
          queries: [{ expr: sum(select('underspan_targets')), legend: 'processes' }],
        }),
        stat({
          size: [4, 4],
          title: 'Probes',
          description: 'Sites that carry a probe.',
          unit: 'short',
          queries: [{ expr: sum(select('underspan_probes_attached')), legend: 'sites' }],
        }),
        instantStat({
          size: [4, 4],
          title: 'Restarts',
          description: 'Starts of agents while it was looked at, without the first of each.',
          unit: 'short',
          decimals: 0,
          queries: [{ expr: sum(restarts), legend: 'restarts' }],
          thresholds: ceiling(1, 5),
        }),
      ],
    },
    {
      title: 'Agents',
      panels: [
        table(
          {
            size: [8, 9],
            title: 'Versions',
            description: 'Agents by their version and the kernel that they run on.',
            unit: 'short',
            queries: [{ expr: `count by (version, kernel) (${select('underspan_build_info')})` }],
          },
          [{ name: 'Agents', unit: 'short' }],
        ),
        states({
          size: [16, 9],
          title: 'Rules ready',
          description:
            'Whether all agents have attached what a rule says. Orange: one at least has not.',
          unit: 'short',
          queries: [
            {
              expr: `min by (rule) (${select('underspan_rule_ready')})`,
              legend: '{{rule}}',
            },
          ],
          thresholds: [
            { value: null, color: 'orange' },
            { value: 1, color: 'green' },
          ],
          mappings: [
            {
              type: 'value',
              options: {
                '0': { text: 'not ready', color: 'orange', index: 0 },
                '1': { text: 'ready', color: 'green', index: 1 },
              },
            },
          ],
        }),
      ],
    },
    {
      title: 'What is attached',
      panels: [
        timeSeries({
          size: [12, 9],
          title: 'Traced processes by rule and executable',
          description: 'Processes that fall under a rule and carry probes.',
          unit: 'short',
          min: 0,
          stacked: true,
          queries: [
            {
              expr: sum(select('underspan_targets'), 'rule', 'executable'),
              legend: '{{rule}}: {{executable}}',
            },
          ],
        }),
        timeSeries({
          size: [12, 9],
          title: 'Probes by rule and executable',
          description: 'Sites that carry a probe: the entry and every return of a function.',
          unit: 'short',
          min: 0,
          stacked: true,
          queries: [
            {
              expr: sum(select('underspan_probes_attached'), 'rule', 'executable'),
              legend: '{{rule}}: {{executable}}',
            },
          ],
        }),
        timeSeries({
          size: [8, 8],
          title: 'Probes taken back, by reason',
          description: 'Sites a second whose probes were detached.',
          unit: 'cps',
          min: 0,
          queries: [
            {
              expr: sum(rate(select('underspan_probes_detached_total')), 'reason'),
              legend: '{{reason}}',
            },
          ],
        }),
        table(
          {
            size: [16, 8],
            title: 'Functions refused',
            description:
              'Functions that match a rule and got no probes, and why. `trace symbols` names each.',
            unit: 'short',
            queries: [
              {
                expr: sum(select('underspan_functions_refused'), 'rule', 'executable', 'reason'),
              },
            ],
          },
          [{ name: 'Functions', unit: 'short', gauge: true }],
        ),
      ],
    },
    {
      title: 'Resources of the agents',
      panels: [
        byAgent({
          title: 'CPU',
          description: 'CPU time of an agent itself; 100 % is one CPU.',
          unit: 'percentunit',
          expr: rate(select('process_cpu_seconds_total')),
        }),
        byAgent({
          title: 'Memory',
          description: 'Resident memory of an agent.',
          unit: 'bytes',
          expr: select('process_resident_memory_bytes'),
        }),
        byAgent({
          title: 'JavaScript heap',
          description: 'Used part of the heap of an agent.',
          unit: 'bytes',
          expr: select('nodejs_heap_size_used_bytes'),
        }),
        byAgent({
          title: 'Event loop lag',
          description:
            'By how much one turn of a hundred was late. Spans are decoded on this loop; the reader of the ring is a thread of its own.',
          unit: 's',
          expr: select('nodejs_eventloop_lag_p99_seconds'),
          thresholds: ceiling(0.1, 0.5),
        }),
        byAgent({
          title: 'Open files',
          description: 'Descriptors of an agent: probes, maps and files of what it traces.',
          unit: 'short',
          expr: select('process_open_fds'),
        }),
        byAgent({
          title: 'Time since the start',
          description: 'It falls to nothing where an agent starts anew.',
          unit: 's',
          expr: `time() - ${select('process_start_time_seconds')}`,
        }),
      ],
    },
    {
      title: 'Delivery',
      panels: [
        timeSeries({
          size: [8, 8],
          title: 'Spans delivered',
          description: 'Spans a second that a sink has delivered.',
          unit: 'cps',
          min: 0,
          queries: [
            {
              expr: sum(rate(select('underspan_exporter_delivered_spans_total')), 'sink'),
              legend: '{{sink}}',
            },
          ],
        }),
        timeSeries({
          size: [8, 8],
          title: 'Spans lost by sinks',
          description: 'Spans a second that a sink gave up on, by reason.',
          unit: 'cps',
          min: 0,
          queries: [
            {
              expr: sum(rate(select('underspan_exporter_lost_spans_total')), 'sink', 'reason'),
              legend: '{{sink}} {{reason}}',
            },
          ],
          thresholds: none(),
        }),
        timeSeries({
          size: [8, 8],
          title: 'Bytes that wait by agent',
          description: 'In the queue in memory and in the spool on disk.',
          unit: 'bytes',
          min: 0,
          queries: [
            {
              expr: sum(select('underspan_exporter_queue_bytes'), ...WHERE),
              legend: `${WHERE_LEGEND} queue`,
            },
            {
              expr: sum(select('underspan_exporter_spool_bytes'), ...WHERE),
              legend: `${WHERE_LEGEND} spool`,
            },
          ],
        }),
        table(
          {
            size: [24, 9],
            title: 'Delivery while it was looked at',
            description: 'Spans and requests of each sink.',
            unit: 'short',
            queries: [
              {
                expr: sum(
                  increase(select('underspan_exporter_delivered_spans_total')),
                  ...WHERE,
                  'sink',
                ),
              },
              {
                expr: sum(
                  increase(select('underspan_exporter_lost_spans_total')),
                  ...WHERE,
                  'sink',
                ),
              },
              {
                expr: sum(increase(select('underspan_exporter_retries_total')), ...WHERE, 'sink'),
              },
            ],
          },
          [
            { name: 'Delivered', unit: 'short', gauge: true },
            { name: 'Lost', unit: 'short', thresholds: none() },
            { name: 'Retries', unit: 'short' },
          ],
        ),
      ],
    },
  ],
);
