/** What runs → what metrics and health say of it. */
import { cpus } from 'node:os';
import { type ProbedModule, sitesOf } from '../session/probed-module.js';
import type { Running } from '../session/running.js';
import type { TraceRule } from '../session/rule.js';
import type { FunctionStatistics } from '../session/statistics.js';
import { lostInKernel } from '../session/summary.js';
import type { Sink } from '../sinks/sink.js';
import type { AgentConfig } from './config/config.js';
import type { AgentSnapshot, AttachmentSnapshot, RuleSnapshot } from './snapshot.js';

export interface AgentState {
  running: Running;
  config: AgentConfig;
  rules: readonly TraceRule[];
  sinks: readonly Sink[];
  /** The processes that ran when the agent started, or its rules changed, have been looked at. */
  settled: boolean;
}

export async function snapshotOf(agent: AgentState): Promise<AgentSnapshot> {
  const { running, sinks } = agent;
  const { session, modules, pipeline, functions } = running;
  const [maps, requests, httpUncounted] = await Promise.all([
    session.fill(),
    modules.maps.httpRequests(),
    uncountedOf(agent),
  ]);
  const statistics = session.statistics();
  session.look();
  const lost = lostInKernel(statistics);
  for (const [reason, count] of Object.entries(running.lostHere())) {
    lost[reason] = (lost[reason] ?? 0) + count;
  }
  const probed = [...modules.all];
  return {
    attachments: probed.map((each) => attachmentOf(each, agent, statistics)),
    functions: functions.flatMap((named, index) => {
      const counted = statistics[index];
      if (!named || !counted) return [];
      const { rule, exe } = named.probed;
      return [
        {
          rule: rule.name,
          executable: exe,
          name: named.name,
          index,
          spans: pipeline.sent[index] ?? 0,
          statistics: counted,
        },
      ];
    }),
    http: requests.flatMap(({ functionIndex, ...request }) => {
      const named = functions[functionIndex];
      if (named?.route == null) return [];
      const { rule, exe } = named.probed;
      return [{ rule: rule.name, executable: exe, route: named.route, ...request }];
    }),
    httpUncounted,
    gcPauses: probed.flatMap((each) => {
      const counts = running.gcPauses.countsOf(each);
      return counts ? [{ rule: each.rule.name, executable: each.exe, ...counts }] : [];
    }),
    lost,
    spans: pipeline.spans,
    gcSpans: pipeline.gcSpans,
    detached: { ...running.detached },
    refused: probed.flatMap(refusedOf),
    rules: rulesOf(agent),
    hostBudget: hostBudget(agent.config),
    programs: programsOf(running),
    maps,
    sinks: sinks.flatMap((sink) => sink.state?.() ?? []),
    targets: running.followed.count,
  };
}

/** In CPUs: those of the host, not those that this process may use. */
export const hostBudget = ({ limits: { maxOverhead } }: Pick<AgentConfig, 'limits'>): number =>
  maxOverhead >= 1 ? Infinity : maxOverhead * cpus().length;

export function rulesOf({ running, config, rules, settled }: AgentState): RuleSnapshot[] {
  return rules.map((rule, index) => {
    const problem = running.modules.barren.problemsOf(rule)[0]?.message ?? null;
    const pending = !settled || running.modules.preparing.has(rule);
    const governed = running.governing.stateOf(rule);
    return {
      name: rule.name,
      state: problem !== null ? 'failed' : pending ? 'pending' : 'ready',
      problem,
      maxOverhead: config.rules[index]?.trace.maxOverhead ?? 1,
      governed: {
        thinned: governed?.thinned ?? false,
        counted: governed?.counted.length ?? 0,
        withdrawn: governed?.withdrawn.length ?? 0,
        withdrawals: governed?.withdrawals ?? 0,
        unwatched: governed?.unwatched ?? false,
        suspended: governed?.suspended ?? 0,
        suspensions: governed?.suspensions ?? 0,
      },
    };
  });
}

function uncountedOf({
  running,
  config,
  rules,
}: AgentState): Promise<AgentSnapshot['httpUncounted']> {
  const named = rules.filter((_, index) => (config.rules[index]?.http.length ?? 0) > 0);
  return Promise.all(
    named.map(async (rule) => ({
      rule: rule.name,
      requests: await running.modules.maps.httpUncounted(rule),
    })),
  );
}

function attachmentOf(
  probed: ProbedModule,
  { running }: AgentState,
  statistics: readonly FunctionStatistics[],
): AttachmentSnapshot {
  const { rule, exe, pids, attachment } = probed;
  const { predictedNs, kernelNs } = running.spentOn(probed, statistics);
  const times = running.session.programTimesOf(attachment);
  const runTimeNs = times.reduce((sum, { runTimeNs }) => sum + runTimeNs, 0);
  return {
    rule: rule.name,
    executable: exe,
    service: null,
    pids: [...pids],
    functions: attachment.plan.functions.length,
    sites: sitesOf(probed),
    spentNs: runTimeNs + kernelNs,
    predictedNs,
  };
}

function refusedOf({ rule, exe, attachment }: ProbedModule): AgentSnapshot['refused'] {
  const counts = new Map<string, number>();
  for (const { reason } of attachment.plan.refused) {
    counts.set(reason, (counts.get(reason) ?? 0) + 1);
  }
  return [...counts].map(([reason, functions]) => ({
    rule: rule.name,
    executable: exe,
    reason,
    functions,
  }));
}

/** By name: every executable has programs of its own. Of what was never timed nothing is said. */
function programsOf({ session }: Running): AgentSnapshot['programs'] {
  const sums = new Map<string, { runTimeNs: number; runCount: number }>();
  for (const { program, runTimeNs, runCount } of session.programTimes()) {
    if (runCount === 0) continue;
    const sum = sums.get(program) ?? { runTimeNs: 0, runCount: 0 };
    sum.runTimeNs += runTimeNs;
    sum.runCount += runCount;
    sums.set(program, sum);
  }
  return [...sums].map(([program, sum]) => ({ program, ...sum }));
}
