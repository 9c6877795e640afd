/** What goes over the control interface: JSON both ways, sessions as one object a line. */
import type { Plan, TraceOptions } from '../../engine.js';
import type { ErrorKind } from '../../errors.js';

export const DEFAULT_SOCKET = '/run/underspan/agent.sock';

/** What a session is to do. All but the selection and the symbols may be left out. */
export interface SessionRequest extends Omit<TraceOptions, 'sinks'> {
  /** null: as long as the agent allows. */
  durationMs: number | null;
  /** Also send the spans that the program itself made, for a reader that shows both. */
  programSpans: boolean;
}

/** One executable that is traced. */
export interface TracedModule {
  executable: string;
  pids: number[];
  comm: string | null;
  functions: number;
}

/** The first line of a session's answer. */
export interface StartedEvent {
  type: 'started';
  id: string;
  /** Times as in 2026-01-31T12:00:00.000Z. */
  since: string;
  until: string;
  modules: TracedModule[];
}

/** The last line in place of the summary, if tracing failed after it had begun. */
export interface ErrorEvent extends ErrorBody {
  type: 'error';
}

/** How an UnderspanError travels. */
export interface ErrorBody {
  kind: ErrorKind;
  code: string;
  message: string;
  hint?: string;
}

/** One of the sessions that the agent runs. */
export interface SessionInfo {
  id: string;
  /** Who started it, and how they came in. */
  who: string;
  peer: string;
  since: string;
  until: string;
  selection: SessionRequest['selection'];
  symbols: string[];
  spans: number;
}

/** Spans of one tree are told in one piece; all but the last of a piece say that more follow. */
export interface SpanExtras {
  traceFlags: number;
  functionIndex: number;
  more?: true;
}

/** The session was stopped by a request of its own. */
export const SESSION_STOPPED = 'SESSION_STOPPED';

export function tracedModules({ targets, modules }: Plan): TracedModule[] {
  return modules.map(({ path, pids, role, plan: { functions } }) => ({
    executable: path,
    pids,
    comm:
      role.kind === 'kernel' ? null : (targets.find(({ pid }) => pid === pids[0])?.comm ?? null),
    functions: functions.length,
  }));
}
