/** Rules that ask for spans of the program's own, where none is seen to end. */
import type { Notice } from '../sinks/sink.js';
import { SiteKind } from '../spans/records.generated.js';
import type { ProbedModule } from './probed-module.js';

/** null: they are seen, or nobody asks. */
export function unseenSpans({ rule, role, exe, attachment }: ProbedModule): Notice | null {
  const { functions, support } = attachment.plan;
  if (rule.options.spanAttributes === null || role.kind === 'kernel' || functions.length === 0)
    return null;
  if (support.some(({ kind }) => kind === SiteKind.SPAN_END)) return null;
  return {
    code: 'SPANS_NOT_SEEN',
    message: `no span of an OpenTelemetry SDK for Go is seen to end in ${exe}: nothing there can fulfil what is asked of spans, nor be told apart by them`,
    hint: 'leave out --span, --where and --by, or choose trees by --slower-than or --errors-only',
  };
}
