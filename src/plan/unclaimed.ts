/** Arguments that are asked for and that no function has, in whichever module it is. */
import { UnderspanError } from '../errors.js';
import type { Notice } from '../sinks/sink.js';
import { type ModuleRole, requestFor } from './module-role.js';
import type { PlanRequest } from './plan-module.js';
import type { ModulePlan } from './plan.js';

export interface ModuleWithPlan {
  role: ModuleRole;
  /** Path as its processes see it. */
  exe: string;
  plan: ModulePlan;
}

/**
 * Paths of the request that nothing in these modules of one process has; null where that cannot be
 * told yet, since a library that a pattern names may still be loaded.
 */
export function unclaimed(
  request: PlanRequest,
  modules: readonly ModuleWithPlan[],
): string[] | null {
  const { patterns, values, entryOnly } = request;
  if (values.args.length === 0 || entryOnly) return [];
  const looked = new Set(
    modules.flatMap(({ role, exe }) => requestFor(request, role, exe).patterns),
  );
  if (patterns.some((pattern) => !looked.has(pattern))) return null;
  const claimed = new Set(modules.flatMap(({ plan }) => [...plan.claimed]));
  return values.args.filter((path) => path !== '*' && !claimed.has(path));
}

export const noArgument = (path: string): Notice & { hint: string } => ({
  code: 'NO_ARGUMENT',
  message: `no function that is traced has an argument '${path.split('.')[0] ?? ''}'`,
  hint: 'arguments have the names of the source; without DWARF they are numbered from 0',
});

/** Throws where it is known that an argument is not there. */
export function refuseUnclaimed(request: PlanRequest, modules: readonly ModuleWithPlan[]): void {
  const [first] = unclaimed(request, modules) ?? [];
  if (first === undefined) return;
  const { code, message, hint } = noArgument(first);
  throw new UnderspanError('not-found', code, message, hint);
}
