import { addressOf } from '../src/plan/kernel-functions.js';
import type { Plan } from '../src/engine.js';
import {
  explain,
  type ExplainedFunction,
  type ExplainedPlan,
  type ExplainedSite,
} from '../src/plan/explain.js';
import type { HostCosts } from '../src/plan/host-costs.js';
import { privateBytes, siteCount } from '../src/plan/plan.js';

const hex = (address: number): string => `0x${addressOf(address).toString(16)}`;
const whole = (value: number): string => Math.round(value).toLocaleString('en');

/** For a person: what would be attached, why there, and what it costs the target. */
export async function renderPlan(plan: Plan): Promise<string> {
  const { costs, modules } = plan;
  const parts = await Promise.all(
    modules.map(async ({ path, pids, plan: module }) => {
      const explained = await explain(module, costs);
      const whose = pids.length > 0 ? ` (pid ${pids.join(', ')})` : '';
      return [
        `${path}${whose}: ${module.functions.length} function(s), ${siteCount(module)} probes, ` +
          `${module.support.length} of them for our own bookkeeping`,
        module.kind === 'kernel'
          ? '  time: every process of the host runs through these probes'
          : `  memory: ${privateBytes(module) / 1_024} KiB of text become private to each process`,
        ' NS A CALL  WITH SPAN  FUNCTION',
        ...explained.functions.flatMap(functionLines),
        ...supportLines(explained),
        ...module.refused.map(
          ({ name, reason }) => `         -          -  ${name}  (not traced: ${reason})`,
        ),
      ];
    }),
  );
  return [...parts.flat(), ...costLines(costs)].map((line) => `${line}\n`).join('');
}

const INDENT = ' '.repeat(25);

function functionLines(fn: ExplainedFunction): string[] {
  const times = [fn.callNs, fn.spanNs].map((ns) => whole(ns).padStart(10)).join(' ');
  return [
    `${times}  ${fn.name}`,
    `${INDENT}entry   ${hex(fn.entry.address)}  ${siteText(fn.entry)}`,
    ...alike(fn.returns).map(([site, count]) => {
      const where = count > 1 ? `${count} times` : hex(site.address);
      return `${INDENT}return  ${where}  ${siteText(site)}`;
    }),
    ...(fn.trampolineNs === null
      ? []
      : [`${INDENT}return  by a replaced return address, ${whole(fn.trampolineNs)} ns more`]),
    ...(fn.entryOnly === null ? [] : [`${INDENT}only counted: it ${fn.entryOnly}`]),
  ];
}

function supportLines({ support }: ExplainedPlan): string[] {
  if (support.length === 0) return [];
  return [
    `${' '.repeat(23)}for our own bookkeeping:`,
    ...support.map((site) => `${INDENT}${site.name}  ${hex(site.address)}  ${siteText(site)}`),
  ];
}

function siteText({ instruction, way, ns, whyDear }: ExplainedSite): string {
  const why = whyDear === null ? '' : ` (${whyDear})`;
  return `${instruction ?? 'the function'}: ${way}, ${whole(ns)} ns${why}`;
}

/** Those of which there is nothing else to say, with their number. */
function alike(sites: readonly ExplainedSite[]): [ExplainedSite, number][] {
  const counts = new Map<string, [ExplainedSite, number]>();
  for (const site of sites) {
    const text = siteText(site);
    counts.set(text, [site, (counts.get(text)?.[1] ?? 0) + 1]);
  }
  return [...counts.values()];
}

const SOURCES: Record<HostCosts['source'], string> = {
  measured: 'measured now',
  cached: 'measured since the host booted',
  assumed: 'assumed, since nothing could be measured',
};

function costLines(costs: HostCosts): string[] {
  const turns = costs.scalesWithCpus
    ? []
    : [
        'hits on several CPUs wait for each other on this kernel: a call then costs up to as many times as much',
      ];
  return [`costs of this host: ${SOURCES[costs.source]} (trace doctor shows them)`, ...turns];
}

/** One object a line. */
export async function renderPlanJson(plan: Plan): Promise<string> {
  const { costs, modules } = plan;
  const lines = await Promise.all(
    modules.map(async ({ path, pids, plan: module }) => {
      const { functions, support } = await explain(module, costs);
      return {
        type: 'plan',
        executable: path,
        pids,
        functions: functions.map((fn) => ({
          name: fn.name,
          address: hex(fn.address),
          entry: siteJson(fn.entry),
          returns: fn.returns.map(siteJson),
          trampolineNano: fn.trampolineNs === null ? null : Math.round(fn.trampolineNs),
          entryOnly: fn.entryOnly,
          callNano: Math.round(fn.callNs),
          spanNano: Math.round(fn.spanNs),
        })),
        support: support.map((site) => ({ name: site.name, ...siteJson(site) })),
        refused: module.refused,
        sites: siteCount(module),
        privateBytes: privateBytes(module),
        costs: { source: costs.source, scalesWithCpus: costs.scalesWithCpus },
      };
    }),
  );
  return lines.map((line) => `${JSON.stringify(line)}\n`).join('');
}

const siteJson = ({ address, instruction, way, ns, whyDear }: ExplainedSite): object => ({
  address: hex(address),
  instruction,
  way,
  nano: Math.round(ns),
  whyDear,
});
