import { examineHost, type Finding, type HostReport } from '../src/native/host.js';
import type { Native } from '../src/native/native.js';
import type { Context } from './context.js';

/** Says what this host allows. Resolves to whether functions can be traced here. */
export async function doctor(context: Context, json: boolean): Promise<boolean> {
  const report = await examineHost(nativeOrReason(context));
  context.stdout.write(
    json ? `${JSON.stringify({ type: 'doctor', ...report })}\n` : render(report),
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

function render({ kernel, machine, node, ready, findings }: HostReport): string {
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
  return `Linux ${kernel}, ${machine}, Node ${node}\n\n${lines.join('\n')}\n\n${verdict}\n`;
}
