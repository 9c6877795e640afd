import { examineHost, type Finding, type HostReport } from '../src/native/host.js';
import type { Native } from '../src/native/native.js';
import { type HostCosts, measureCosts } from '../src/plan/host-costs.js';
import type { Context } from './context.js';

/** Says what this host allows, and what it costs. Resolves to whether functions can be traced here. */
export async function doctor(context: Context, json: boolean): Promise<boolean> {
  const native = nativeOrReason(context);
  if ('unavailable' in native) return say(context, json, await examineHost(native), null);
  // To try features takes a while: once is enough.
  const features = native.features();
  const report = await examineHost({ features: () => features });
  return say(
    context,
    json,
    report,
    report.ready ? await measureCosts(native, await features) : null,
  );
}

function say(
  { stdout }: Context,
  json: boolean,
  report: HostReport,
  costs: HostCosts | null,
): boolean {
  stdout.write(
    json ? `${JSON.stringify({ type: 'doctor', ...report, costs })}\n` : render(report, costs),
  );
  return report.ready;
}

function nativeOrReason(context: Context): Native | { unavailable: string } {
  try {
    return context.native();
  } catch (error) {
    return { unavailable: error instanceof Error ? error.message : String(error) };
  }
}

const SIGNS: Record<Finding['state'], string> = {
  ok: 'ok',
  limited: 'limited',
  missing: 'MISSING',
};

function render(
  { kernel, machine, node, ready, findings }: HostReport,
  costs: HostCosts | null,
): string {
  const width = Math.max(...findings.map(({ name }) => name.length));
  const lines = findings.map(({ name, state, detail, remedy }) => {
    const line = `  ${SIGNS[state].padEnd(7)}  ${name.padEnd(width)}  ${detail}`;
    return remedy === undefined ? line : `${line}\n${' '.repeat(width + 13)}→ ${remedy}`;
  });
  const limited = findings.some(({ state }) => state === 'limited');
  const verdict = !ready
    ? 'Functions cannot be traced here until what is missing is there.'
    : limited
      ? 'Functions can be traced here, within the limits above.'
      : 'Functions can be traced here.';
  return `Linux ${kernel}, ${machine}, Node ${node}\n\n${lines.join('\n')}\n\n${costs ? renderCosts(costs) : ''}${verdict}\n`;
}

function renderCosts(costs: HostCosts): string {
  const rows: [string, number | null][] = [
    ['a push, a jump or a call: emulated', costs.emulatedNs],
    ['any other instruction: single-stepped', costs.singleSteppedNs],
    ['a ret that our program carries out', costs.carriedOutNs],
    ['both ends of a call whose return address is replaced', costs.trampolineNs],
  ];
  const width = Math.max(...rows.map(([what]) => what.length));
  const lines = rows.map(([what, ns]) => {
    const text = ns === null ? 'not possible here' : `${Math.round(ns).toLocaleString('en')} ns`;
    return `  ${what.padEnd(width)}  ${text}\n`;
  });
  const scales = costs.scalesWithCpus
    ? 'hits on several CPUs do not wait for each other'
    : 'hits on several CPUs wait for each other: each costs up to as many times as much';
  return `What a hit costs here, without our own program (${costs.source}):\n${lines.join('')}  ${scales}\n\n`;
}
