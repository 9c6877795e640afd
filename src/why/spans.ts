/** What the analysis takes of spans; those that say less are spans as well. */
import type { AttributeValue, FunctionSpan, ProgramSpan } from '../spans/span.js';
import type { SpanEvent } from '../spans/time-attributes.js';

export type ObservedCall = FunctionSpan & { events?: readonly SpanEvent[] };
export type ObservedProgramSpan = ProgramSpan & { attributes?: Record<string, AttributeValue> };
