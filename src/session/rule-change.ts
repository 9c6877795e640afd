/** What other rules mean for the processes that are followed. */
import type { Target } from '../targets/target.js';
import type { ProbedModule } from './probed-module.js';
import { type Decision, decide, hasWhole, type TraceRule } from './rule.js';

export interface FollowedProcess {
  target: Target;
  /** null: nobody's yet; it is watched for what it may execute. */
  rule: TraceRule | null;
  /** Of its main executable. */
  probed: ProbedModule | null;
  /** Of its libraries, and of the kernel. */
  others: Set<ProbedModule>;
}

export interface RuleChange {
  /** Processes that fall under another rule now, or none. */
  moves: { target: Target; decision: Decision | null }[];
  /** Probes of no rule any more, or of one that does not have all processes of the executable. */
  gone: Set<ProbedModule>;
  undecided: number[];
}

export function compare(
  rules: readonly TraceRule[],
  processes: ReadonlyMap<number, FollowedProcess>,
  probes: Iterable<ProbedModule>,
): RuleChange {
  const change: RuleChange = { moves: [], gone: new Set(), undecided: [] };
  for (const probed of probes) {
    const { rule, whole } = probed;
    const stays = rules.includes(rule) && (!whole || hasWhole(rules, rule, probed));
    if (!stays) change.gone.add(probed);
  }
  for (const [pid, { target, rule, probed }] of processes) {
    const decision = decide(rules, target);
    if (decision === 'unknown') {
      change.undecided.push(pid);
      continue;
    }
    const stays = decision?.rule === rule && !(probed?.whole && !decision?.whole);
    if (stays && !(probed && change.gone.has(probed))) continue;
    if (probed?.whole) change.gone.add(probed);
    change.moves.push({ target, decision });
  }
  return change;
}
