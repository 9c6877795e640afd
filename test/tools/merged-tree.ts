import type { OtlpSpan } from './otlp.js';

export function isFunctionSpan(span: OtlpSpan): boolean {
  return span.scope.name === 'underspan';
}

export interface TreeStyle {
  /** Escape sequences for a terminal. */
  colour: boolean;
}

/** One trace as lines: who runs under whom, for how long; function spans are marked. */
export function renderTrace(spans: readonly OtlpSpan[], style: TreeStyle): string[] {
  const ids = new Set(spans.map((span) => span.spanId));
  const children = new Map<string | null, OtlpSpan[]>();
  for (const span of [...spans].sort(byStart)) {
    const parent = span.parentSpanId !== null && ids.has(span.parentSpanId);
    const key = parent ? span.parentSpanId : null;
    children.set(key, [...(children.get(key) ?? []), span]);
  }
  const rows: { prefix: string; span: OtlpSpan }[] = [];
  const walk = (parent: string | null, indent: string): void => {
    const list = children.get(parent) ?? [];
    for (const [index, span] of list.entries()) {
      const last = index === list.length - 1;
      const root = parent === null;
      rows.push({ prefix: root ? '' : `${indent}${last ? '└─ ' : '├─ '}`, span });
      walk(span.spanId, root ? '' : `${indent}${last ? '   ' : '│  '}`);
    }
  };
  walk(null, '');

  const width = Math.max(...rows.map(({ prefix, span }) => prefix.length + span.name.length)) + 4;
  return rows.map(({ prefix, span }) => {
    const ours = isFunctionSpan(span);
    const mark = ours ? 'ƒ' : '●';
    const name = style.colour && !ours ? `\u001b[1m${span.name}\u001b[22m` : span.name;
    const dots = ' '.repeat(width - prefix.length - span.name.length - 2);
    const failed = span.status.code === 2 ? `  error: ${span.status.message || 'panicked'}` : '';
    return `${prefix}${mark} ${name}${dots}${duration(span)}${failed}`;
  });
}

function duration(span: OtlpSpan): string {
  const ms = Number(span.endTimeUnixNano - span.startTimeUnixNano) / 1e6;
  return `${ms.toFixed(3).padStart(9)} ms`;
}

function byStart(a: OtlpSpan, b: OtlpSpan): number {
  return Number(a.startTimeUnixNano - b.startTimeUnixNano);
}
