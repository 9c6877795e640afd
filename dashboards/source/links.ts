/** Ways from one dashboard to another and to traces. */
import type { DashboardLink, DataLink } from './model.js';

export const UIDS = {
  functions: 'underspan-functions',
  function: 'underspan-function',
  cost: 'underspan-cost',
  fleet: 'underspan-fleet',
} as const;

const TITLES: Record<keyof typeof UIDS, string> = {
  functions: 'Functions',
  function: 'A function in depth',
  cost: 'What tracing costs',
  fleet: 'Agent fleet',
};

/** To the other dashboards, with the variables and the time of this one. */
export function linksFrom(here: keyof typeof UIDS): DashboardLink[] {
  return (Object.keys(UIDS) as (keyof typeof UIDS)[])
    .filter((other) => other !== here)
    .map((other) => ({
      type: 'link',
      title: TITLES[other],
      tooltip: `Open "${TITLES[other]}" for the same agents and time`,
      icon: 'dashboard',
      url: `/d/${UIDS[other]}`,
      tags: [],
      asDropdown: false,
      includeVars: true,
      keepTime: true,
      targetBlank: false,
    }));
}

const KEPT = ['datasource', 'tempo', 'jaeger', 'namespace', 'node', 'instance', 'rule'];

/** A series or a row of a table: where its labels are. */
export type Labels = 'series' | 'row';

function label(labels: Labels, name: string): string {
  const place = labels === 'series' ? '__field.labels' : '__data.fields';
  return `\${${place}.${name}:percentencode}`;
}

export function toFunction(labels: Labels): DataLink {
  const kept = KEPT.map((name) => `\${${name}:queryparam}`);
  const own = ['executable', 'function'].map((name) => `var-${name}=${label(labels, name)}`);
  return {
    title: 'This function in depth',
    url: `/d/${UIDS.function}?${[...kept, ...own].join('&')}&\${__url_time_range}`,
  };
}

/** Explore's address is JSON in which the variables must stay readable for Grafana. */
function explore(source: string, query: Record<string, string>): string {
  const pane = {
    datasource: `\${${source}}`,
    queries: [{ refId: 'A', ...query }],
    range: { from: '${__from}', to: '${__to}' },
  };
  const encoded = JSON.stringify({ traces: pane })
    .split(/(\$\{[^}]*\})/)
    .map((part) => (part.startsWith('${') ? part : encodeURIComponent(part)))
    .join('');
  return `/explore?schemaVersion=1&panes=${encoded}`;
}

/** Searches for spans of the function that `name` stands for. */
function toTraces(name: string): DataLink[] {
  return [
    {
      title: 'Traces in Tempo',
      url: explore('tempo', { queryType: 'traceql', query: `{ name = "${name}" }` }),
      targetBlank: true,
    },
    {
      // Jaeger searches within a service, which is to be chosen there.
      title: 'Traces in Jaeger',
      url: explore('jaeger', { queryType: 'search', operation: name }),
      targetBlank: true,
    },
  ];
}

export function tracesOf(labels: Labels): DataLink[] {
  return toTraces(label(labels, 'function'));
}

/** Of the function that the dashboard is about. */
export const TRACES_OF_CHOSEN: DataLink[] = toTraces('${function:percentencode}');
