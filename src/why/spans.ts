/** What the analysis takes of spans; those that say less are spans as well. */
import type { AttributeValue, FunctionSpan, ProgramSpan } from '../spans/span.js';

export type ObservedCall = FunctionSpan;
export type ObservedProgramSpan = ProgramSpan & { attributes?: Record<string, AttributeValue> };
