/** The daemon: what its configuration says is traced, delivered and measured until it is stopped. */
import { featuresOf, requireFeatures } from '../engine.js';
import { mayReadOthers, READ_OTHERS } from '../native/host.js';
import type { Native } from '../native/native.js';
import { hostCosts } from '../plan/host-costs.js';
import { requireCapabilities } from '../session/kernel-errors.js';
import { Crashes } from '../session/crashes.js';
import type { TraceRule } from '../session/rule.js';
import { Running } from '../session/running.js';
import { OtlpSink } from '../sinks/otlp.js';
import type { Notice, Sink, Summary } from '../sinks/sink.js';
import { Procfs } from '../targets/procfs.js';
import { NodeWorkloads } from '../targets/node-workloads.js';
import { type AgentConfig, MAX_FUNCTIONS } from './config/config.js';
import { type ParsedConfig, readConfig } from './config/parse.js';
import { ControlServer } from './control/server.js';
import { FileWatch } from './file-watch.js';
import { AgentHttp, type Health } from './http.js';
import { createLog, type Log } from './log.js';
import { Exemplars } from './metrics/exemplars.js';
import { AgentMetrics } from './metrics.js';
import { RuleSet } from './rule-set.js';
import { type AgentState, hostBudget, rulesOf, snapshotOf } from './state.js';

export interface AgentOptions {
  native: Native;
  configFile: string;
  version: string;
  log?: Log;
}

/** The whole of stop() is to fit 5 s; sinks have this much of it, in ms. */
const FLUSH_MS = 2_500;
/** How often it is seen whether records still come through, and for how long they may not. */
const PULSE_MS = 5_000;
const PULSE_LATE_MS = 30_000;

/** Said at the start: processes that no rule selects for that reason are not heard of. */
const OTHERS_CLOSED = [
  { code: 'OTHERS_NOT_PERMITTED', hint: `run as root, or with ${READ_OTHERS}` },
  "environments of other users' processes are closed to this user: no rule selects them by service, and their services are not known",
] as const;

const GOOD_NEWS = new Set(['PROCESS_FOLLOWED', 'otlp-back']);

export class Agent {
  private state!: AgentState;
  private parsed: ParsedConfig;
  private readonly log: Log;
  private readonly ruleSet: RuleSet;
  private readonly watch: FileWatch;
  private http: AgentHttp | null = null;
  private control: ControlServer | null = null;
  private pulse: NodeJS.Timeout | null = null;
  private pulseAt = performance.now();
  /** Reloads are done one after the other. */
  private reloading: Promise<void> = Promise.resolve();
  private stopped: Promise<void> | null = null;

  private constructor(
    private readonly options: AgentOptions,
    parsed: ParsedConfig,
    ruleSet: RuleSet,
    log: Log,
    private readonly workloads: NodeWorkloads,
  ) {
    this.parsed = parsed;
    this.ruleSet = ruleSet;
    this.log = log;
    this.watch = new FileWatch(options.configFile, () => void this.reload());
  }

  /** Resolves when it serves; processes are being looked at then. Throws UnderspanError. */
  static async start(options: AgentOptions): Promise<Agent> {
    const { native, configFile, version } = options;
    const parsed = await readConfig(configFile);
    const log = options.log ?? createLog({ level: parsed.config.log.level, version });
    const features = await featuresOf(native);
    requireFeatures(features);
    requireCapabilities();
    if (!mayReadOthers()) log.warn(...OTHERS_CLOSED);
    const procfs = new Procfs();
    const workloads = new NodeWorkloads({
      procfs,
      kubernetes: parsed.config.kubernetes,
      onNotice: ({ code, hint, message }) => log.warn({ code, hint }, message),
    });
    const costs = await hostCosts(native, features);
    const ruleSet = new RuleSet({ features, costs, procfs, workloads });
    const agent = new Agent(options, parsed, ruleSet, log, workloads);
    try {
      await agent.begin(features);
    } catch (error) {
      await agent.stop().catch(() => undefined);
      throw error;
    }
    return agent;
  }

  private async begin(features: Awaited<ReturnType<typeof featuresOf>>): Promise<void> {
    const { native, version } = this.options;
    const { config } = this.parsed;
    const exemplars = new Exemplars();
    const sinks: Sink[] = [exemplars, new NoticeSink((notice) => this.tell(notice, null))];
    const otlp = this.openOtlp(config);
    if (otlp) sinks.push(otlp);
    const rules = this.ruleSet.from(config);
    this.workloads.start();
    const running = await Running.start(native, features, {
      rules,
      sinks,
      transport: config.limits.transport,
      ringBytes: config.limits.ringBytes,
      maxFunctions: config.limits.functions ?? MAX_FUNCTIONS,
      hostBudget: hostBudget(config),
      watchesExecs: true,
      allocationStacks: false,
      idleMs: config.limits.idleMs,
      crashes: new Crashes(),
      flushMs: FLUSH_MS,
      workloads: this.workloads,
      processAttributes: true,
      onNotice: (notice, rule) => this.tell(notice, rule),
      onForgotten: (index) => exemplars.forget(index),
    });
    this.state = { running, config, rules, sinks, settled: false };
    this.workloads.onChange(() => this.reconsider());
    this.beat();
    const metrics = new AgentMetrics({
      snapshot: () => snapshotOf(this.state),
      version,
      maxSeries: config.metrics.maxSeries,
      exemplars,
    });
    if (config.metrics.listen) {
      this.http = await AgentHttp.start({
        listen: config.metrics.listen,
        metrics,
        health: () => this.health(),
        rules: () => rulesOf(this.state),
        log: this.log,
      });
    }
    this.control = new ControlServer({ config: config.control, native, log: this.log, version });
    await this.control.start();
    this.watch.start();
    const names = rules.map(({ name }) => name);
    this.log.info({ rules: names, metrics: this.http?.address }, 'the agent is up');
    this.reloading = this.settle();
  }

  /** Resolves when the processes that run have been looked at. */
  private async settle(): Promise<void> {
    const { running, rules } = this.state;
    await running.followed.settled();
    if (this.stopped) return;
    this.state = { ...this.state, settled: true };
    const names = rules.map(({ name }) => name);
    this.log.info({ rules: names, targets: running.followed.count }, 'the rules are in place');
  }

  private openOtlp({ export: { otlp, queueBytes, spool } }: AgentConfig): OtlpSink | null {
    if (!otlp) return null;
    return new OtlpSink({
      ...otlp,
      spool,
      version: this.options.version,
      maxBytes: queueBytes,
      onNotice: (notice) => this.tell(notice, null),
    });
  }

  /** Reads the configuration again. What is wrong with it is logged, and the old one stays. */
  reload(): Promise<void> {
    this.reloading = this.reloading.then(() => this.reloadNow());
    return this.reloading;
  }

  private async reloadNow(): Promise<void> {
    if (this.stopped) return;
    try {
      const parsed = await readConfig(this.options.configFile);
      const { config } = parsed;
      const rules = this.ruleSet.from(config);
      this.parsed = parsed;
      this.warnOfRestart(config);
      this.state = { ...this.state, config, rules, settled: false };
      this.state.running.followed.idleMs = config.limits.idleMs;
      await this.state.running.followed.setRules(rules);
      this.log.info({ rules: rules.map(({ name }) => name) }, 'the configuration was read again');
      await this.settle();
    } catch (error) {
      this.log.error({ err: error }, 'the configuration was refused; the old one stays');
      this.state = { ...this.state, settled: true };
    }
  }

  private warnOfRestart(config: AgentConfig): void {
    const before = atStart(this.state.config);
    const now = atStart(config);
    const changed = Object.keys(now).filter((key) => now[key] !== before[key]);
    if (changed.length === 0) return;
    this.log.warn({ changed }, 'these settings take effect when the agent is started anew');
  }

  /** More is known of where processes run, so others may fall under the rules. */
  private reconsider(): void {
    if (this.stopped) return;
    const { running, rules } = this.state;
    running.followed
      .setRules(rules)
      .catch((error: unknown) =>
        this.log.error({ err: error }, 'rules could not be looked at anew'),
      );
  }

  private beat(): void {
    this.pulse = setInterval(() => {
      this.state.running.session.drain().then(
        () => (this.pulseAt = performance.now()),
        () => undefined,
      );
    }, PULSE_MS);
    this.pulse.unref();
  }

  private health(): Health {
    const late = performance.now() - this.pulseAt;
    if (late < PULSE_LATE_MS) return { ok: true, problem: null };
    return {
      ok: false,
      problem: `nothing was read from the kernel for ${Math.round(late / 1e3)} s`,
    };
  }

  private tell(notice: Notice, rule: TraceRule | null): void {
    const { code, message, hint, pattern } = notice;
    const place = rule && pattern !== undefined ? this.placeOf(rule, pattern) : undefined;
    const fields = { code, rule: rule?.name, hint, place };
    if (GOOD_NEWS.has(code)) this.log.info(fields, message);
    else this.log.warn(fields, place === undefined ? message : `${place}: ${message}`);
  }

  /** Where a pattern of the rule stands in the configuration. */
  private placeOf(rule: TraceRule, pattern: string): string | undefined {
    const index = this.parsed.config.rules.findIndex(({ name }) => name === rule.name);
    const symbol = this.parsed.config.rules[index]?.trace.symbols.indexOf(pattern) ?? -1;
    if (symbol < 0) return undefined;
    return this.parsed.placeOf(['rules', index, 'trace', 'symbols', symbol]);
  }

  /** Takes back all probes and delivers, or spools, what is left; within 5 s. */
  stop(): Promise<void> {
    this.stopped ??= this.stopNow();
    return this.stopped;
  }

  private async stopNow(): Promise<void> {
    this.watch.close();
    if (this.pulse) clearInterval(this.pulse);
    // A reload that is under way sees that nothing is attached any more.
    this.workloads.close();
    const state = this.state as AgentState | undefined;
    const [summary] = await Promise.all([
      state?.running.stop(),
      this.control?.close('the agent stops'),
      this.http?.close(),
    ]);
    if (summary) this.log.info(endOf(summary), 'the agent has stopped');
  }
}

/** Sections that are not taken in while the agent runs, as text. */
function atStart(config: AgentConfig): Record<string, string> {
  const { metrics, control, kubernetes, log } = config;
  const { functions, maxOverhead, transport, ringBytes } = config.limits;
  const sections = { export: config.export, metrics, control, kubernetes, log };
  const all = Object.entries({
    ...sections,
    limits: { functions, maxOverhead, transport, ringBytes },
  });
  return Object.fromEntries(all.map(([key, value]) => [key, JSON.stringify(value)]));
}

function endOf({ functions, lost, overhead }: Summary): object {
  return {
    calls: functions.reduce((sum, { calls }) => sum + calls, 0),
    spans: functions.reduce((sum, { spans }) => sum + spans, 0),
    lost: Object.fromEntries(Object.entries(lost).filter(([, count]) => count > 0)),
    overhead: overhead.measured,
  };
}

/** What has to do with no rule: the engine itself, delivery. */
class NoticeSink implements Sink {
  constructor(readonly notice: (notice: Notice) => void) {}

  spans(): void {
    // Of no interest here.
  }

  async close(): Promise<void> {
    // Nothing is held back.
  }
}
