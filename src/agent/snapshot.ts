/** What the agent is doing, as its metrics and its health tell it. Counts never go back. */
import type { FunctionStatistics } from '../session/statistics.js';
import type { SinkState } from '../sinks/sink.js';

export interface AgentSnapshot {
  attachments: AttachmentSnapshot[];
  functions: FunctionSnapshot[];
  http: HttpSnapshot[];
  /** Requests that found no room in the kernel's table, by rule: those that name handlers. */
  httpUncounted: { rule: string; requests: number }[];
  gcPauses: GcPausesSnapshot[];
  /** Calls that made no span, by reason, since the agent started; sinks' losses are among them. */
  lost: Record<string, number>;
  /** Spans handed to the sinks. */
  spans: number;
  /** Of those, what garbage collectors did. */
  gcSpans: number;
  /** Sites whose probes were taken back, by reason: idle, reload, file-changed. */
  detached: Record<string, number>;
  /** Matching functions that got no probes, by reason. */
  refused: { rule: string; executable: string; reason: string; functions: number }[];
  rules: RuleSnapshot[];
  /** What tracing may cost the host, in CPUs; Infinity: any cost. */
  hostBudget: number;
  /** By BPF program. */
  programs: { program: string; runTimeNs: number; runCount: number }[];
  /** By BPF map. */
  maps: { map: string; entries: number; maxEntries: number }[];
  sinks: SinkState[];
  /** Processes of all rules. */
  targets: number;
}

/** The probes that a rule has put into one executable. */
export interface AttachmentSnapshot {
  rule: string;
  /** Path as its processes see it. */
  executable: string;
  service: string | null;
  pids: number[];
  functions: number;
  sites: number;
  /** CPU time that its probes have taken: by the kernel's count, and by the plan. */
  spentNs: number;
  predictedNs: number;
}

export interface FunctionSnapshot {
  rule: string;
  executable: string;
  name: string;
  /** Number by which spans' functions are told in this process; unique among those that are there. */
  index: number;
  /** Spans of its calls that were handed to the sinks. */
  spans: number;
  statistics: FunctionStatistics;
}

/** Requests of one handler, method and status: seconds by the buckets of the semantic conventions. */
export interface HttpSnapshot {
  rule: string;
  executable: string;
  route: string;
  /** "" where it could not be read. */
  method: string;
  /** 0 where it could not be read. */
  status: number;
  /** Not cumulative; one more than HTTP_BUCKETS_SECONDS has bounds. */
  buckets: number[];
  sumNs: number;
}

/** How long the garbage collectors of an executable's processes stopped the world. */
export interface GcPausesSnapshot {
  rule: string;
  executable: string;
  /** Not cumulative; one more than PAUSE_BOUNDS_SECONDS has. */
  buckets: number[];
  sumNs: number;
}

/** http.server.request.duration of the semantic conventions for HTTP. */
export const HTTP_BUCKETS_SECONDS = [
  0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
] as const;

export interface RuleSnapshot {
  name: string;
  /** pending: processes that fit are still being looked at. */
  state: 'ready' | 'pending' | 'failed';
  /** Why not ready. */
  problem: string | null;
  maxOverhead: number;
  /** What the governor has done to keep within it. */
  governed: {
    /** No call makes a span. */
    thinned: boolean;
    /** Functions of which only the entries are seen at the moment. */
    counted: number;
    /** Functions that are not traced at the moment. */
    withdrawn: number;
    /** So far: how often a function was withdrawn. */
    withdrawals: number;
    /** It is not looked at what calls wait for. */
    unwatched: boolean;
    /** Executables of which all probes are away for a while, since bookkeeping costs too much. */
    suspended: number;
    /** So far: how often that was done. */
    suspensions: number;
  };
}
