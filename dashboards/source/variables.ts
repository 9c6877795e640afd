/** What is chosen at the top of a dashboard. */
import type { CustomVariable, DataSourceRef, DataSourceVariable, QueryVariable } from './model.js';
import type { Metric } from './metrics.js';

/** Where every query goes. */
export const PROMETHEUS: DataSourceRef = { type: 'prometheus', uid: '${datasource}' };

function dataSource(
  name: string,
  label: string,
  query: string,
  description: string,
): DataSourceVariable {
  return {
    type: 'datasource',
    name,
    label,
    description,
    hide: 0,
    multi: false,
    includeAll: false,
    query,
    regex: '',
    refresh: 1,
  };
}

export const DATA_SOURCES: readonly DataSourceVariable[] = [
  dataSource('datasource', 'Metrics', 'prometheus', 'The Prometheus that scrapes the agents.'),
  dataSource('tempo', 'Tempo', 'tempo', 'Where links to traces lead that say Tempo.'),
  dataSource('jaeger', 'Jaeger', 'jaeger', 'Where links to traces lead that say Jaeger.'),
];

/** Where nothing leads to a trace: kept for the dashboards that links lead to. */
export const METRICS_SOURCE: readonly DataSourceVariable[] = DATA_SOURCES.map((variable) =>
  variable.query === 'prometheus' ? variable : { ...variable, hide: 2 },
);

/** A label by which series are chosen. All is `.*`, which also fits a series without the label. */
function choice(
  label: string,
  title: string,
  description: string,
  source: Metric,
  within: readonly QueryVariable[],
): QueryVariable {
  const matchers = within.map((variable) => `${variable.name}=~"$${variable.name}"`);
  const definition = `label_values(${source}{${matchers.join(',')}}, ${label})`;
  return {
    type: 'query',
    name: label,
    label: title,
    description,
    hide: 0,
    multi: true,
    includeAll: true,
    allValue: '.*',
    datasource: PROMETHEUS,
    definition,
    query: { qryType: 1, query: definition, refId: 'variable' },
    refresh: 2,
    sort: 1,
    regex: '',
    current: { text: ['All'], value: ['$__all'] },
  };
}

// Also where its rules trace nothing yet.
const AGENT: Metric = 'underspan_spans_total';

const namespace = choice('namespace', 'Namespace', 'Where the agents run.', AGENT, []);
const node = choice('node', 'Node', 'On which the agents run.', AGENT, [namespace]);
const instance = choice('instance', 'Agent', 'Address of an agent, as it is scraped.', AGENT, [
  namespace,
  node,
]);
/** Which agents. Only the last is there where nothing but Prometheus itself gives labels. */
export const AGENTS: readonly QueryVariable[] = [namespace, node, instance];

export const rule = choice(
  'rule',
  'Rule',
  'Of the configuration of the agents.',
  'underspan_rule_ready',
  AGENTS,
);
export const executable = choice(
  'executable',
  'Executable',
  'Path of a traced program, as its processes see it.',
  'underspan_function_calls_total',
  [...AGENTS, rule],
);
export const functions = choice(
  'function',
  'Function',
  'Full name, as the language writes it.',
  'underspan_function_calls_total',
  [...AGENTS, rule, executable],
);

/** The same label, where one function is looked at. */
export const oneFunction: QueryVariable = {
  type: functions.type,
  name: functions.name,
  label: functions.label,
  description: functions.description,
  hide: 0,
  multi: false,
  includeAll: false,
  datasource: PROMETHEUS,
  definition: functions.definition,
  query: functions.query,
  refresh: 2,
  sort: 1,
  regex: '',
};

export const top: CustomVariable = {
  type: 'custom',
  name: 'top',
  label: 'Top',
  description: 'How many functions a panel shows at most.',
  hide: 0,
  multi: false,
  includeAll: false,
  query: '5,10,20,50',
  current: { text: '10', value: '10' },
  options: ['5', '10', '20', '50'].map((value) => ({
    text: value,
    value,
    selected: value === '10',
  })),
};
