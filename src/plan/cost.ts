/** What the sites of a plan cost the traced program, in nanoseconds of its own threads. */
import { SiteCondition } from '../spans/records.generated.js';
import type { HostCosts } from './host-costs.js';
import type { ModulePlan, PlannedFunction } from './plan.js';
import type { Site } from './sites.js';

/** How the kernel carries out a probed instruction, or sees the end of a function. */
export type Way = 'emulated' | 'single-stepped' | 'carried out' | 'trampoline' | 'kernel probe';

export function wayOf({ emulated, plainReturn, inKernel }: Site, { carriedOutNs }: HostCosts): Way {
  if (inKernel) return 'kernel probe';
  if (emulated) return 'emulated';
  return plainReturn && carriedOutNs !== null ? 'carried out' : 'single-stepped';
}

/** Of a hit, without our own program. */
export function siteCostNs(site: Site, costs: HostCosts): number {
  switch (wayOf(site, costs)) {
    case 'kernel probe':
      return costs.kernelProbeNs;
    case 'emulated':
      return costs.emulatedNs;
    case 'carried out':
      return costs.carriedOutNs ?? costs.singleSteppedNs;
    default:
      return costs.singleSteppedNs;
  }
}

/** What the kernel takes for a call's hits; by which of its returns a call ends is not known. */
export function kernelCostNs(
  { entry, returns, trampoline }: PlannedFunction,
  costs: HostCosts,
): { entryNs: number; returnNs: number } {
  const entryNs = siteCostNs(entry, costs);
  if (trampoline) return { entryNs, returnNs: costs.trampolineNs - costs.emulatedNs };
  const all = returns.reduce((sum, site) => sum + siteCostNs(site, costs), 0);
  return { entryNs, returnNs: returns.length > 0 ? all / returns.length : 0 };
}

/** Of a call of which only statistics are kept. */
export function callCostNs(fn: PlannedFunction, costs: HostCosts): number {
  const { entryNs, returnNs } = kernelCostNs(fn, costs);
  return entryNs + returnNs + ownCostNs(fn, costs);
}

/** Of a call that makes a span. */
export function spanCostNs(fn: PlannedFunction, costs: HostCosts): number {
  return callCostNs(fn, costs) + (seesReturns(fn) ? costs.spanNs : 0);
}

/** Of a call of which only the entry is seen; null: it must be seen whole, or costs no less. */
export function countCostNs(fn: PlannedFunction, costs: HostCosts): number | null {
  const { entry, returns, trampoline } = fn;
  // What is begun anew is told from another call only by the call that is open.
  if (entry.inKernel || entry.condition === SiteCondition.MAY_REPEAT) return null;
  if (returns.length === 0 && !trampoline) return null;
  return siteCostNs(entry, costs) + costs.countNs;
}

function ownCostNs(fn: PlannedFunction, { enterNs, leaveNs, countNs }: HostCosts): number {
  return seesReturns(fn) ? enterNs + leaveNs : countNs;
}

const seesReturns = ({ returns, single, trampoline }: PlannedFunction): boolean =>
  single || trampoline || returns.length > 0;

/** Of a hit on the sites that our own bookkeeping needs; which are hit how often is not known. */
export function supportCostNs({ support }: ModulePlan, costs: HostCosts): number {
  if (support.length === 0) return 0;
  return support.reduce((sum, site) => sum + siteCostNs(site, costs), 0) / support.length;
}
