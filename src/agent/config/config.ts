import type { Transport } from '../../session/transport.js';

/**
 * What a configuration file says, checked and with every default filled in. The schema beside it
 * says what may be written; times are nanoseconds where the name ends in Ns, else milliseconds.
 */
import type { ErrorMode } from '../../plan/error-modes.js';

export interface AgentConfig {
  /** A process falls under the first rule that selects it. */
  rules: RuleConfig[];
  export: ExportConfig;
  metrics: MetricsConfig;
  control: ControlConfig;
  kubernetes: KubernetesConfig;
  log: LogConfig;
  limits: LimitsConfig;
}

export interface RuleConfig {
  /** Unique in the file. */
  name: string;
  select: SelectConfig;
  trace: TraceConfig;
  /** Processes that start later are stopped at their exec until they are attached. */
  hold: boolean;
  /** Functions that handle HTTP requests, for http_server_request_duration_seconds. */
  http: HttpHandlerConfig[];
}

/** All kinds that are given must hold; within a kind any may. An empty list is not given. */
export interface SelectConfig {
  /** Globs: path of the executable as the process sees it. */
  executables: string[];
  /** Globs: the command line, its words joined by single spaces. */
  commands: string[];
  /** Globs: service.name. */
  services: string[];
  containerImages: string[];
  containerNames: string[];
  /** Globs: of the pod. */
  namespaces: string[];
  /** Of the pod: all of them; values are globs. */
  labels: Record<string, string>;
  /** Globs: KIND/NAME of what the pod belongs to, such as Deployment/checkout. */
  owners: string[];
}

/** The same wishes as `trace attach` takes as options. */
export interface TraceConfig {
  symbols: string[];
  exclude: string[];
  args: string[];
  returns: boolean;
  stack: boolean;
  waits: boolean;
  gc: boolean;
  allocations: boolean;
  errorText: boolean;
  /** What results of C, C++ and Rust are errors; null: Rust's Err alone. */
  errors: ErrorMode[] | null;
  /** Names of values that are hidden besides those that look like secrets; null: hide none. */
  redact: string[] | null;
  minDurationNs: number;
  slowerThanNs: number | null;
  errorsOnly: boolean;
  /** Only trees beneath a span of the program's own of this name, a pattern; null: all. */
  span: string | null;
  /** What must hold for that span too. */
  where: string[];
  /** Spans of one function beneath one parent before the others are folded into one; 0: any number. */
  fold: number;
  /** 0 to 1. */
  sample: number;
  /** Trees a second for the whole rule; 0: no limit. */
  maxRate: number;
  entryOnly: boolean;
  contextHops: number;
  /** Returns are carried out by our programs where the kernel lets them. */
  emulateReturns: boolean;
  /** Returns of native functions by replaced return addresses, whatever their process has mapped. */
  returnTrampoline: boolean;
  roots: boolean;
  unsampled: boolean;
  followForks: boolean;
  /** CPU time that tracing may add to a target, as a share of one CPU; 1: no limit. */
  maxOverhead: number;
}

export interface HttpHandlerConfig {
  /** Pattern of the function. */
  symbol: string;
  /** Value of the label http_route. */
  route: string;
}

export interface ExportConfig {
  /** null: spans go nowhere. */
  otlp: OtlpConfig | null;
  /** Of the queue in memory. */
  queueBytes: number;
  /** null: what does not fit the queue is dropped, and counted. */
  spool: SpoolConfig | null;
}

/** null: as the OTEL_EXPORTER_OTLP_* variables say. */
export interface OtlpConfig {
  endpoint: string | null;
  protocol: 'grpc' | 'http/protobuf' | null;
}

export interface SpoolConfig {
  directory: string;
  maxBytes: number;
}

export interface Address {
  host: string;
  port: number;
}

export interface MetricsConfig {
  /** Of /metrics, /healthz and /readyz; null: not served. */
  listen: Address | null;
  /** Series of one metric; those beyond are counted. */
  maxSeries: number;
}

export interface ControlConfig {
  /** Path of the socket that root on this node may use; null: none. */
  socket: string | null;
  network: ControlNetworkConfig | null;
  /** How long a session that was started through it may last. */
  maxDurationMs: number;
  maxSessions: number;
  /** File to which every session is written; null: the log. */
  auditLog: string | null;
}

export interface ControlNetworkConfig {
  listen: Address;
  certificate: string;
  key: string;
  /** Certificates of this authority are let in; null: none are. */
  clientAuthority: string | null;
  /** Tokens of Kubernetes are let in where RBAC allows what they ask for. */
  kubernetesTokens: boolean;
}

export interface KubernetesConfig {
  /** Where pods are read from; none: nothing is read. auto: api within a cluster, else none. */
  source: 'auto' | 'kubelet' | 'api' | 'none';
  /** Of this node; null: NODE_NAME of the environment, else the host's name. */
  nodeName: string | null;
  /** null: https://NODE_IP:10250, or the cluster's own by its environment. */
  url: string | null;
}

export interface LogConfig {
  level: 'debug' | 'info' | 'warn' | 'error';
}

/** Where nobody says. */
export const MAX_FUNCTIONS = 4_000;

export interface LimitsConfig {
  /** Traced at once, of all rules together; null: MAX_FUNCTIONS, or of a rule fewer on old kernels. */
  functions: number | null;
  /** What tracing may cost the host, as a share of all its CPUs; 1: any cost. */
  maxOverhead: number;
  transport: Transport;
  ringBytes: number;
  /** How long the probes of an executable stay that nothing runs. */
  idleMs: number;
}
