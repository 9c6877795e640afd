/**
 * All that may be written into the agent's configuration. docs/agent.schema.json and
 * docs/agent-configuration.md are generated from this.
 */
import { nameBeginsWith } from './glob.js';
import { z } from 'zod';
import { ERROR_MODES, type ErrorMode } from '../../plan/error-modes.js';
import { TRANSPORTS } from '../../session/transport.js';
import { FOLD } from '../../spans/folds.js';
import { MAX_ATTRIBUTE_NAMES, MAX_CONTEXT_HOPS } from '../../spans/records.generated.js';
import type { AgentConfig } from './config.js';
import {
  address,
  budget,
  count,
  condition,
  countOrNone,
  spanName,
  durationMs,
  durationNs,
  executable,
  flag,
  glob,
  limitMs,
  listOf,
  orFalse,
  owner,
  path,
  pattern,
  programPattern,
  rate,
  ringSize,
  share,
  size,
  text,
  url,
} from './fields.js';

const LABEL = /^([a-z0-9][a-z0-9.-]*\/)?[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$/;

const labels = z
  .record(z.string().regex(LABEL, 'is no key of a label'), glob, { error: 'labels and globs' })
  .meta({ title: 'labels' });

export const selectSchema = z
  .strictObject({
    executable: listOf(executable)
      .optional()
      .describe('Path of the executable, as the process sees it.'),
    command: listOf(glob)
      .optional()
      .describe('The command line, its words joined by single spaces.'),
    service: listOf(glob).optional().describe('`service.name`.'),
    containerImage: listOf(glob).optional().describe('Image of the container.'),
    containerName: listOf(glob).optional().describe('Name of the container in its pod.'),
    namespace: listOf(glob).optional().describe('Namespace of the pod.'),
    labels: labels.optional().describe('Labels of the pod, all of them; the values are globs.'),
    owner: listOf(owner)
      .optional()
      .describe('What the pod belongs to, as `KIND/NAME`, such as `Deployment/checkout`.'),
  })
  .check(({ value, issues }) => {
    if (Object.keys(value).some((key) => key !== 'labels') || hasKeys(value.labels)) return;
    issues.push({
      code: 'custom',
      message: "the selection is empty; to take every process write executable: '*'",
      input: value,
    });
  })
  .transform((select) => ({
    executables: select.executable ?? [],
    commands: select.command ?? [],
    services: select.service ?? [],
    containerImages: select.containerImage ?? [],
    containerNames: select.containerName ?? [],
    namespaces: select.namespace ?? [],
    labels: select.labels ?? {},
    owners: select.owner ?? [],
  }));

const hasKeys = (value: object | undefined): boolean => Object.keys(value ?? {}).length > 0;

const isErrorMode = (value: string): value is ErrorMode =>
  ERROR_MODES.some((mode) => mode === value);
const errorMode = text.refine(isErrorMode, { error: `one of ${ERROR_MODES.join(', ')}` });

const traceSchema = z
  .strictObject({
    symbols: listOf(pattern).describe(
      'Functions to trace; those of the kernel as `kernel:vfs_write`.',
    ),
    exclude: listOf(pattern).optional().describe('Not these.'),
    args: listOf(text)
      .optional()
      .describe("Arguments that spans carry: `order`, `order.ID`, `0`; `'*'` is all."),
    returns: flag.default(false).describe('Spans carry what calls return.'),
    stack: flag.default(false).describe('Spans carry who called.'),
    waits: flag
      .default(false)
      .describe('Spans and metrics say how long calls waited, and for what; see waits.md.'),
    gc: flag
      .default(false)
      .describe(
        "What Go's garbage collector does is told as spans and metrics, and spans say how long it paused them; see gc.md.",
      ),
    allocations: flag
      .default(false)
      .describe('Spans and metrics say how many bytes calls allocated; see gc.md.'),
    errorText: flag
      .default(false)
      .describe('Spans carry the texts of errors and panics, not only their types.'),
    errors: listOf(errorMode)
      .optional()
      .describe(
        'Results of C, C++ and Rust that are errors: `negative` numbers (also of functions of the kernel), `null` pointers (in quotes, for YAML), `err` of Rust; by default `err`.',
      ),
    redact: orFalse(listOf(text), 'a list of names')
      .optional()
      .describe(
        'Names of values that are hidden, besides those that look like secrets; `false` hides nothing.',
      ),
    minDuration: durationNs.prefault(0).describe('No span for a shorter call.'),
    slowerThan: durationNs
      .optional()
      .describe('Only whole trees whose outermost call took longer.'),
    errorsOnly: flag.default(false).describe('Only whole trees that hold an error.'),
    span: spanName
      .optional()
      .describe(
        "Only whole trees beneath a span of the program's own of this name; `*` is any characters, `/…/` a regular expression.",
      ),
    where: listOf(condition)
      .refine((terms) => terms.length <= MAX_ATTRIBUTE_NAMES, {
        error: `no more than ${MAX_ATTRIBUTE_NAMES} conditions`,
      })
      .optional()
      .describe(
        'What must hold for that span: `span.attr.tenant.id == "acme"`, `span.status == error`, `span.attr.http.response.status_code >= 500`.',
      ),
    fold: countOrNone
      .default(FOLD)
      .describe(
        'Spans of one function beneath one parent; the others are folded into one. 0 folds none.',
      ),
    sample: share.prefault(1).describe('Share of traces to keep.'),
    maxRate: rate.prefault(100).describe('Trees a second for the whole rule; 0 is no limit.'),
    entryOnly: flag
      .default(false)
      .describe('Count calls without watching for their ends: the cheapest look.'),
    contextHops: count
      .max(MAX_CONTEXT_HOPS)
      .default(32)
      .describe('Wrappers of a `context.Context` to look through.'),
    emulateReturns: flag
      .default(true)
      .describe(
        'Carry out returns in the probe where the kernel lets it (Linux 6.19), which is far cheaper. Off where other tools have uprobes on the same return instructions.',
      ),
    returnTrampoline: flag
      .default(false)
      .describe(
        'See the returns of all native functions by return addresses that the kernel replaces (Linux 6.13), whatever the process has mapped. Exceptions, and whatever else looks for return addresses, may then end the process.',
      ),
    roots: flag
      .default(false)
      .describe('Calls for which no context is found are traces of their own, not only counted.'),
    unsampled: flag
      .default(false)
      .describe("Spans also where the program's own trace is not sampled."),
    followForks: flag
      .default(true)
      .describe('Children too, until they execute another program: then the rules decide.'),
    maxOverhead: budget
      .prefault('5%')
      .describe(
        'CPU time that tracing may add to a target, as a share of one CPU; 100% is no limit. What would cost more is thinned, and then taken back: see docs/cost.md.',
      ),
  })
  .transform(({ minDuration, slowerThan, span, where, redact, errors, ...trace }) => ({
    ...trace,
    exclude: trace.exclude ?? [],
    args: trace.args ?? [],
    errors: errors?.filter(isErrorMode) ?? null,
    redact: redact === false ? null : (redact ?? []),
    minDurationNs: minDuration,
    slowerThanNs: slowerThan ?? null,
    span: span ?? null,
    where: where ?? [],
  }));

const httpSchema = z.strictObject({
  symbol: programPattern.describe('The function that handles the requests.'),
  route: text.describe('Value of the label `http_route`.'),
});

const anyRule = z.strictObject({
  name: text.describe('Unique in the file; metrics and logs tell rules apart by it.'),
  select: selectSchema.describe(
    'Which processes. All kinds that are given must hold; within a kind any may.',
  ),
  trace: traceSchema.describe('What to trace there, as the options of `trace attach` say it.'),
  hold: flag
    .default(false)
    .describe(
      'Processes that start later are stopped at their exec until they are attached. The file names in `executable` must begin with plain characters, for whatever begins like them is stopped for a moment.',
    ),
  http: z
    .array(httpSchema, { error: 'a list' })
    .default([])
    .describe('Functions that handle HTTP requests, for `http_server_request_duration_seconds`.'),
});

const ruleSchema = anyRule.check(({ value, issues }) => {
  const { executables } = value.select as Partial<typeof value.select>;
  // A selection that is wrong itself has been told of.
  if (!executables) return;
  const open = executables.find((glob) => nameBeginsWith(glob) === '');
  if (!value.hold || (executables.length > 0 && open === undefined)) return;
  const message =
    open === undefined
      ? "needs an 'executable', or every process on the host would be stopped"
      : `would stop processes of any name, since the file name in '${open}' begins with a wildcard`;
  issues.push({ code: 'custom', message, input: value.hold, path: ['hold'] });
});

const otlpSchema = z.strictObject({
  endpoint: url.optional().describe('URL of the Collector.'),
  protocol: z.enum(['grpc', 'http/protobuf']).optional().describe('How to speak to it.'),
});

const exportSchema = z
  .strictObject({
    otlp: orFalse(otlpSchema, 'keys with values')
      .prefault({})
      .describe(
        'Where spans go. What is not said here the `OTEL_EXPORTER_OTLP_*` variables say; `false`: nowhere.',
      ),
    queueSize: size.prefault('64MiB').describe('Bound of the queue in memory.'),
    spool: orFalse(
      z.strictObject({
        directory: path.describe('It is made if it is missing.'),
        size: size.prefault('512MiB').describe('Bound of what lies there.'),
      }),
      'keys with values',
    )
      .prefault(false)
      .describe('Spans that cannot be delivered wait here, also while the agent restarts.'),
  })
  .transform(({ otlp, queueSize, spool }) => ({
    otlp: otlp ? { endpoint: otlp.endpoint ?? null, protocol: otlp.protocol ?? null } : null,
    queueBytes: queueSize,
    spool: spool ? { directory: spool.directory, maxBytes: spool.size } : null,
  }));

const metricsSchema = z
  .strictObject({
    listen: orFalse(address, 'an address')
      .prefault(':9464')
      .describe('Where `/metrics`, `/healthz` and `/readyz` are served; `false`: nowhere.'),
    maxSeries: count.default(1_000).describe('Series of one metric; those beyond are counted.'),
  })
  .transform(({ listen, maxSeries }) => ({ listen: listen || null, maxSeries }));

const networkSchema = z
  .strictObject({
    listen: address.describe('Where the control interface is served.'),
    tls: z
      .strictObject({
        certificate: path.describe('PEM file.'),
        key: path.describe('PEM file.'),
        clientAuthority: path
          .optional()
          .describe('Certificates of this authority are let in; without it none are.'),
      })
      .describe('The network is served by TLS alone.'),
    kubernetesTokens: flag
      .default(false)
      .describe('Tokens of Kubernetes are let in where RBAC allows what they ask for.'),
  })
  .check(({ value, issues }) => {
    if (value.kubernetesTokens || value.tls.clientAuthority !== undefined) return;
    const message = 'nobody could enter; write tls.clientAuthority or kubernetesTokens: true';
    issues.push({ code: 'custom', message, input: value });
  })
  .transform(({ listen, tls, kubernetesTokens }) => ({
    listen,
    certificate: tls.certificate,
    key: tls.key,
    clientAuthority: tls.clientAuthority ?? null,
    kubernetesTokens,
  }));

const controlSchema = z
  .strictObject({
    socket: orFalse(path, 'a path')
      .default('/run/underspan/agent.sock')
      .describe('Socket that root on this node may use; `false`: none.'),
    network: orFalse(networkSchema, 'keys with values')
      .prefault(false)
      .describe('The same over the network.'),
    maxDuration: limitMs
      .prefault('10m')
      .describe('How long a session that was started through it may last.'),
    maxSessions: count.default(4).describe('How many there may be at once.'),
    auditLog: path
      .optional()
      .describe('File to which every session is written; without it, the log.'),
  })
  .transform(({ socket, network, maxDuration, maxSessions, auditLog }) => ({
    socket: socket || null,
    network: network || null,
    maxDurationMs: maxDuration,
    maxSessions,
    auditLog: auditLog ?? null,
  }));

const kubernetesSchema = z
  .strictObject({
    source: z
      .enum(['auto', 'kubelet', 'api', 'none'])
      .default('auto')
      .describe('Where pods are read from; `auto` is `api` within a cluster, else `none`.'),
    nodeName: text
      .optional()
      .describe("This node's; else `NODE_NAME` of the environment, else the host's name."),
    url: url
      .optional()
      .describe(
        "Of the kubelet or the API server; else the node's port 10250, or the cluster's own.",
      ),
  })
  .transform(({ source, nodeName, url }) => ({
    source,
    nodeName: nodeName ?? null,
    url: url ?? null,
  }));

const logSchema = z.strictObject({
  level: z
    .enum(['debug', 'info', 'warn', 'error'])
    .default('info')
    .describe('The least that is logged.'),
});

const limitsSchema = z
  .strictObject({
    functions: count
      .optional()
      .describe(
        'Functions traced at once, of all rules together. By default 4000, and where the kernel attaches probes one by one (before Linux 6.6) 100 of a rule.',
      ),
    maxOverhead: budget
      .prefault('10%')
      .describe(
        "CPU time that tracing may add to the host, of all rules together, as a share of all its CPUs; 100% is no limit. It holds beside the rules' own: see docs/cost.md.",
      ),
    transport: z
      .enum(TRANSPORTS)
      .default('ring')
      .describe('How records leave the kernel: `ring`, or `perf`, a buffer for each CPU.'),
    ringSize: ringSize
      .prefault('8MiB')
      .describe(
        'Buffer between the kernel and the agent, or all of them together: a power of two from 4 KiB to 1 GiB.',
      ),
    idle: durationMs
      .prefault('10m')
      .describe('How long the probes of an executable stay that nothing runs.'),
  })
  .transform(({ functions, ringSize, idle, ...rest }) => ({
    ...rest,
    functions: functions ?? null,
    ringBytes: ringSize,
    idleMs: idle,
  }));

export const agentSchema = z.strictObject({
  rules: z
    .array(ruleSchema, { error: 'a list' })
    .describe('What is traced where. A process falls under the first rule that selects it.'),
  export: exportSchema.prefault({}).describe('Where spans go.'),
  metrics: metricsSchema.prefault({}).describe('What Prometheus reads.'),
  control: controlSchema.prefault({}).describe('How `trace attach --agent` reaches the agent.'),
  kubernetes: kubernetesSchema.prefault({}).describe('Where facts about pods come from.'),
  log: logSchema.prefault({}).describe('The log, on standard error.'),
  limits: limitsSchema.prefault({}).describe('Bounds of the agent itself.'),
}) satisfies z.ZodType<AgentConfig>;

let jsonSchema: z.core.JSONSchema.BaseSchema | undefined;

/** Of the file as it is written, for editors, the reference and the search for mistyped words. */
export function agentJsonSchema(): z.core.JSONSchema.BaseSchema {
  return (jsonSchema ??= z.toJSONSchema(agentSchema, { io: 'input' }));
}
