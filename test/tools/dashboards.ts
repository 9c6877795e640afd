/** What the dashboards ask of Prometheus, as Grafana would send it. */
import { DASHBOARDS } from '../../dashboards/source/index.js';
import type { Dashboard, QueryVariable, Variable } from '../../dashboards/source/model.js';

export interface DashboardQuery {
  /** Name of its file. */
  dashboard: string;
  /** Title, or "$NAME" of a variable. */
  panel: string;
  refId: string;
  expr: string;
  /** variable: an instant query, whose series carry the variable's values as their only label. */
  kind: 'range' | 'instant' | 'variable';
  /** The exemplars of what it reads are asked for too. */
  exemplar: boolean;
}

export interface Substitution {
  /** The file of one alone; all if it is not given. */
  dashboard?: string;
  /** $__rate_interval, such as "10s". */
  rateInterval: string;
  /** $__range; that of rateInterval if it is not given. */
  range?: string;
  /**
   * By the name of the variable. One that is not given is All where there is such a choice; a
   * single one ("function" of a function in depth) must be given.
   */
  values?: Record<string, string | string[]>;
}

/** As Grafana's Prometheus data source escapes the only value of a variable, for "=". */
function escapePlain(value: string): string {
  return value.replace(/\\/g, '\\\\').replace(/"/g, '\\"');
}

/** And each of several, for "=~": a regular expression within a PromQL string. */
function escapeRegex(value: string): string {
  return value
    .replace(/\\/g, '\\\\\\\\')
    .replace(/"/g, '\\\\\\"')
    .replace(/[$^*{}[\]'+?.()|]/g, '\\\\$&');
}

function valueOf(variable: Variable, given: string | string[] | undefined): string {
  if (variable.type === 'custom') return String(given ?? variable.current.value);
  if (given === undefined) {
    if (variable.type === 'query' && variable.allValue !== undefined) return variable.allValue;
    throw new Error(`a value for $${variable.name} must be given`);
  }
  const values = [given].flat();
  if (!variable.multi) {
    if (values.length !== 1) throw new Error(`$${variable.name} takes one value`);
    return escapePlain(String(values[0]));
  }
  const escaped = values.map(escapeRegex);
  return escaped.length === 1 ? String(escaped[0]) : `(${escaped.join('|')})`;
}

function substitute(dashboard: Dashboard, text: string, how: Substitution): string {
  const { rateInterval, range = rateInterval, values = {} } = how;
  return text.replace(/\$(\w+)/g, (_, name: string) => {
    if (name === '__rate_interval') return rateInterval;
    if (name === '__range') return range;
    const variable = dashboard.templating.list.find((each) => each.name === name);
    if (!variable) throw new Error(`${dashboard.uid} has no variable $${name}`);
    return valueOf(variable, values[name]);
  });
}

/** label_values(SELECTOR, LABEL) as an instant query. */
function valuesQuery(variable: QueryVariable): string {
  const [, selector, label] = /^label_values\((.*), (\w+)\)$/.exec(variable.definition) ?? [];
  if (selector === undefined || label === undefined) {
    throw new Error(`$${variable.name} is not label_values(SELECTOR, LABEL)`);
  }
  return `group by (${label}) (${selector})`;
}

/** Every query of every panel and of every variable. */
export function dashboardQueries(how: Substitution): DashboardQuery[] {
  const queries: DashboardQuery[] = [];
  for (const [name, dashboard] of Object.entries(DASHBOARDS)) {
    if (how.dashboard !== undefined && how.dashboard !== name) continue;
    const add = (query: Omit<DashboardQuery, 'dashboard'>): void => {
      const expr = substitute(dashboard, query.expr, how);
      queries.push({ dashboard: name, ...query, expr });
    };
    for (const variable of dashboard.templating.list) {
      if (variable.type !== 'query') continue;
      const { refId } = variable.query;
      const expr = valuesQuery(variable);
      add({ panel: `$${variable.name}`, refId, expr, kind: 'variable', exemplar: false });
    }
    for (const panel of dashboard.panels) {
      if (panel.type === 'row') continue;
      for (const { refId, expr, instant, exemplar } of panel.targets) {
        add({ panel: panel.title, refId, expr, kind: instant ? 'instant' : 'range', exemplar });
      }
    }
  }
  return queries;
}
