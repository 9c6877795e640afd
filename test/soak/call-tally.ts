import type { OpenMetricsText } from '../tools/openmetrics.js';

/**
 * Calls since the start, by rule. A function's count is gone with its probes and begins anew with
 * the next ones, as counters do for Prometheus; it must be read between its last call and that.
 */
export class CallTally {
  private before = new Map<string, { rule: string; value: number }>();
  private readonly gone = new Map<string, number>();

  add(metrics: OpenMetricsText): void {
    const now = new Map<string, { rule: string; value: number }>();
    for (const { labels, value } of metrics.samples('underspan_function_calls_total')) {
      now.set(JSON.stringify(labels), { rule: labels['rule'] ?? '', value });
    }
    for (const [key, { rule, value }] of this.before) {
      const next = now.get(key)?.value ?? -1;
      if (next < value) this.gone.set(rule, (this.gone.get(rule) ?? 0) + value);
    }
    this.before = now;
  }

  of(rule: string): number {
    let sum = this.gone.get(rule) ?? 0;
    for (const each of this.before.values()) if (each.rule === rule) sum += each.value;
    return sum;
  }

  get total(): number {
    const rules = new Set([...this.gone.keys(), ...[...this.before.values()].map((e) => e.rule)]);
    return [...rules].reduce((sum, rule) => sum + this.of(rule), 0);
  }
}
