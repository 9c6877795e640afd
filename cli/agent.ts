/** Options that say how an agent is reached. */
import { existsSync } from 'node:fs';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { AgentClient, type AgentAddress } from '../src/agent/control/client.js';
import { DEFAULT_SOCKET } from '../src/agent/control/protocol.js';
import { UnderspanError } from '../src/errors.js';

export interface AgentValues {
  agent?: string;
  agentCa?: string;
  agentCert?: string;
  agentKey?: string;
  agentTokenFile?: string;
}

/** Where a pod finds the token of its service account. */
const POD_TOKEN = '/var/run/secrets/kubernetes.io/serviceaccount/token';

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

export function agentClient(values: AgentValues): AgentClient {
  const { agent: at = DEFAULT_SOCKET, agentCa, agentCert, agentKey } = values;
  const overNetwork = at.startsWith('https://');
  const given = [agentCa, agentCert, agentKey, values.agentTokenFile];
  if (!overNetwork && given.some((file) => file !== undefined)) {
    throw new UnderspanError(
      'usage',
      'AGENT_OPTIONS',
      'certificates and tokens are for an agent that is reached over the network',
      'write --agent=https://HOST:PORT, or leave them out',
    );
  }
  if ((agentCert === undefined) !== (agentKey === undefined)) {
    throw new UnderspanError(
      'usage',
      'AGENT_OPTIONS',
      '--agent-cert and --agent-key belong together',
    );
  }
  const podToken = overNetwork && agentCert === undefined && existsSync(POD_TOKEN);
  const tokenFile = values.agentTokenFile ?? (podToken ? POD_TOKEN : undefined);
  const address: AgentAddress = {
    at,
    ...(agentCa === undefined ? {} : { authorityFile: agentCa }),
    ...(agentCert === undefined ? {} : { certificateFile: agentCert }),
    ...(agentKey === undefined ? {} : { keyFile: agentKey }),
    ...(tokenFile === undefined ? {} : { tokenFile }),
  };
  return new AgentClient(address);
}
