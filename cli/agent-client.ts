/** An agent, reached as the options say. */
import { existsSync } from 'node:fs';
import { AgentClient, type AgentAddress } from '../src/agent/control/client.js';
import { DEFAULT_SOCKET } from '../src/agent/control/protocol.js';
import { UnderspanError } from '../src/errors.js';
import type { AgentValues } from './agent.js';

/** Where a pod finds the token of its service account. */
const POD_TOKEN = '/var/run/secrets/kubernetes.io/serviceaccount/token';

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
