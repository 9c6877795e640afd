/** Options that say how an agent is reached. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { DEFAULT_SOCKET } from '../src/agent/control/protocol.js';

export interface AgentValues {
  agent?: string;
  agentCa?: string;
  agentCert?: string;
  agentKey?: string;
  agentTokenFile?: string;
}

export function addAgent(command: Command): Command {
  return command
    .optionsGroup('Through an agent:')
    .addOption(
      new Option(
        '--agent [=address]',
        `the agent that does it: its socket, or https://HOST:PORT (default: ${DEFAULT_SOCKET})`,
      ).argParser(parseAddress),
    )
    .option('--agent-ca <file>', "certificates of the authority of the agent's certificate")
    .option('--agent-cert <file>', 'certificate by which it lets us in')
    .option('--agent-key <file>', 'key of that certificate')
    .option('--agent-token-file <file>', "token of Kubernetes (default: in a pod, the pod's own)");
}

function parseAddress(text: string): string {
  if (text === '') return DEFAULT_SOCKET;
  if (/^\.{0,2}\//.test(text)) return text;
  if (URL.canParse(text)) {
    const { protocol, origin, href } = new URL(text);
    if (protocol === 'https:' && href === `${origin}/`) return origin;
  }
  throw new InvalidArgumentError(
    'It is no address of an agent; write the path of its socket, or https://HOST:PORT.',
  );
}
