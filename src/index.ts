/** The library that the command line is made of. */
export {
  type Plan,
  planTrace,
  type Selection,
  startTrace,
  type Trace,
  type TraceOptions,
} from './engine.js';
export { type ErrorKind, UnderspanError } from './errors.js';
export { loadNative } from './native/load.js';
export type { Native } from './native/native.js';
export type { FunctionSummary, Notice, Sink, Summary } from './sinks/sink.js';
export { JsonSink } from './sinks/json.js';
export { OtlpSink } from './sinks/otlp.js';
export type { OtlpOptions } from './sinks/otlp-options.js';
export { TreeSink } from './sinks/tree.js';
export { Why, type WhyOptions, type WhyReport } from './why/analysis.js';
export { WhySink } from './why/sink.js';
export { sentenceOf } from './why/words.js';
export type { FunctionSpan, ProcessResource, ProgramSpan } from './spans/span.js';
