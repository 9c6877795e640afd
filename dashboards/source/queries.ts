/** Pieces of PromQL. */
import { METRICS, type LabelOf, type Metric } from './metrics.js';
import type { QueryVariable } from './model.js';
import { AGENTS } from './variables.js';

/** Those series of a metric that the dashboard's variables choose. */
export type Select = <M extends Metric>(
  metric: M,
  matchers?: Partial<Record<LabelOf<M>, string>>,
) => string;

/**
 * Grafana escapes the values of a variable of several as regular expressions and that of a single
 * one as plain text, both for the inside of a PromQL string, so no format is asked for: `:regex`
 * escapes with one backslash, which such a string does not allow.
 */
function chosen(variable: QueryVariable): string {
  return `${variable.name}${variable.multi ? '=~' : '='}"$${variable.name}"`;
}

export function selectBy(...choices: readonly QueryVariable[]): Select {
  return (metric, matchers = {}) => {
    const own: readonly string[] = METRICS[metric];
    const parts = [...AGENTS, ...choices.filter((variable) => own.includes(variable.name))].map(
      chosen,
    );
    for (const [label, matcher] of Object.entries<string | undefined>(matchers)) {
      if (matcher !== undefined) parts.push(`${label}${matcher}`);
    }
    return `${metric}{${parts.join(',')}}`;
  };
}

/** A metric that other programs have too: of the agents alone. */
export function ofAgents(select: Select, expression: string): string {
  return `${expression} and on (job, instance) ${select('underspan_build_info')}`;
}

export function rate(selector: string): string {
  return `rate(${selector}[$__rate_interval])`;
}

/** Over the time that is shown. */
export function increase(selector: string): string {
  return `increase(${selector}[$__range])`;
}

export function sum(expression: string, ...by: string[]): string {
  return by.length === 0 ? `sum(${expression})` : `sum by (${by.join(', ')}) (${expression})`;
}

export function quantile(q: number, rates: string, ...by: string[]): string {
  return `histogram_quantile(${q}, ${sum(rates, 'le', ...by)})`;
}

export function top(expression: string): string {
  return `topk($top, ${expression})`;
}
