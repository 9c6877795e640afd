/** `trace sessions`: what was started through an agent and still runs. */
import type { SessionInfo } from '../src/agent/control/protocol.js';
import { UnderspanError } from '../src/errors.js';
import { printable } from '../src/sinks/tree-format.js';
import { describeSelection } from '../src/targets/select.js';
import type { AgentValues } from './agent.js';
import { agentClient } from './agent-client.js';
import { type Context, say } from './context.js';

export async function sessions(
  context: Context,
  values: AgentValues,
  action: 'list' | 'stop',
  id: string | undefined,
  json: boolean,
): Promise<void> {
  const client = agentClient(values);
  if (action === 'stop') {
    if (id === undefined) {
      throw new UnderspanError(
        'usage',
        'NO_SESSION',
        'no session is named',
        'trace sessions stop ID; trace sessions lists them',
      );
    }
    await client.stop(id);
    if (json) context.stdout.write(`${JSON.stringify({ type: 'stopped', id })}\n`);
    else say(context, `stopped ${id}`);
    return;
  }
  const running = await client.sessions();
  if (json) {
    const lines = running.map((each) => `${JSON.stringify({ type: 'session', ...each })}\n`);
    context.stdout.write(lines.join(''));
  } else if (running.length === 0) say(context, 'no session runs');
  else context.stdout.write(render(running));
}

/** What other people wrote is in it: made harmless for a terminal. */
function render(running: readonly SessionInfo[]): string {
  const rows = [
    ['ID', 'UNTIL', 'SPANS', 'WHO', 'WHAT'],
    ...running.map(({ id, until, spans, who, peer, selection, symbols }) => [
      id,
      until,
      String(spans),
      `${who} (${peer})`,
      `${symbols.join(' ')} in ${describeSelection(selection)}`,
    ]),
  ].map((row) => row.map(printable));
  const widths = rows[0]?.map((_, column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  );
  return rows
    .map((row) => row.map((cell, column) => cell.padEnd(widths?.[column] ?? 0)).join('  '))
    .map((line) => `${line.trimEnd()}\n`)
    .join('');
}
