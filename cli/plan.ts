import { addressOf } from '../src/plan/kernel-functions.js';
import { privatePages, siteCount, type PlannedFunction } from '../src/plan/plan.js';
import type { Plan } from '../src/engine.js';

const sitesOf = ({ entry, returns }: PlannedFunction): PlannedFunction['returns'] => [
  entry,
  ...returns,
];

const stepped = (fn: PlannedFunction): number =>
  sitesOf(fn).filter(({ emulated }) => !emulated).length;

const PAGE_KIB = 4;

/** For a person: what would be attached, and what it costs the target. */
export function renderPlan(plan: Plan): string {
  return plan.modules
    .map(({ path, pids, plan: module }) => {
      const { functions, refused, support } = module;
      const all = [...functions.flatMap(sitesOf), ...support];
      const dear = all.filter(({ emulated }) => !emulated).length;
      const whose = pids.length > 0 ? ` (pid ${pids.join(', ')})` : '';
      const each = functions.map(
        (fn) =>
          `  ${String(1 + fn.returns.length).padStart(6)} ${String(stepped(fn)).padStart(7)}  ${fn.name}`,
      );
      const not = refused.map(
        ({ name, reason }) => `       -       -  ${name}  (not traced: ${reason})`,
      );
      return [
        `${path}${whose}: ${functions.length} function(s), ${siteCount(module)} probes, ` +
          `${support.length} of them for our own bookkeeping`,
        ...(module.kind === 'kernel'
          ? ['  time: every process of the host runs through these probes']
          : [
              `  time: ${all.length - dear} probes are emulated, at one trap a hit; ` +
                `${dear} are single-stepped, at two`,
              `  memory: ${privatePages(module) * PAGE_KIB} KiB of text become private to each process`,
            ]),
        '  PROBES STEPPED  FUNCTION',
        ...each,
        ...not,
      ]
        .map((line) => `${line}\n`)
        .join('');
    })
    .join('');
}

/** One object a line. */
export function renderPlanJson(plan: Plan): string {
  const lines: object[] = [];
  for (const { path, pids, plan: module } of plan.modules) {
    lines.push({
      type: 'plan',
      executable: path,
      pids,
      functions: module.functions.map((fn) => ({
        name: fn.name,
        address: `0x${addressOf(fn.address).toString(16)}`,
        sites: 1 + fn.returns.length,
        singleStepped: stepped(fn),
      })),
      refused: module.refused,
      sites: siteCount(module),
      privateBytes: privatePages(module) * PAGE_KIB * 1_024,
    });
  }
  return lines.map((line) => `${JSON.stringify(line)}\n`).join('');
}
