import assert from 'node:assert/strict';
import { once } from 'node:events';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { connect, type TLSSocket } from 'node:tls';
import { type AgentAddress, AgentClient } from '../../src/agent/control/client.js';
import { KubernetesTokens } from '../../src/agent/control/kubernetes.js';
import { parseRequest } from '../../src/agent/control/wishes.js';
import { ApiServer } from '../tools/api-server.js';
import { type Certificate, makeAuthority, makeCertificate } from '../tools/certificates.js';
import { type Control, type ControlSettings, WISHES, withControl } from '../tools/control.js';

const folder = mkdtempSync(join(tmpdir(), 'underspan-control-'));
after(() => rmSync(folder, { recursive: true }));

const servers = makeAuthority(folder, 'servers');
const clients = makeAuthority(folder, 'clients');
const strangers = makeAuthority(folder, 'strangers');
const agent = makeCertificate(folder, 'agent', servers);
const alice = makeCertificate(folder, 'alice', clients);
const mallory = makeCertificate(folder, 'mallory', strangers);

const agentToken = join(folder, 'agent-token');
writeFileSync(agentToken, 'token-of-the-agent\n');

interface WaysIn {
  certificates?: boolean;
  tokens?: ApiServer | string;
}

function settings({ certificates, tokens }: WaysIn): ControlSettings {
  const url = typeof tokens === 'string' ? tokens : tokens?.url;
  return {
    network: {
      listen: { host: '127.0.0.1', port: 0 },
      ...agent,
      clientAuthority: certificates ? clients.certificate : null,
      kubernetesTokens: tokens !== undefined,
    },
    ...(url === undefined
      ? {}
      : { kubernetes: { url, authorityFile: servers.certificate, tokenFile: agentToken } }),
  };
}

const urlOf = ({ server }: Control): string => `https://127.0.0.1:${server.port}`;

function client(control: Control, proof: Certificate | string | null = null): AgentClient {
  const address: AgentAddress = { at: urlOf(control), authorityFile: servers.certificate };
  if (typeof proof === 'string') {
    address.tokenFile = join(folder, `token-${proof}`);
    writeFileSync(address.tokenFile, `${proof}\n`);
  } else if (proof) {
    address.certificateFile = proof.certificate;
    address.keyFile = proof.key;
  }
  return new AgentClient(address);
}

const wishes = parseRequest(JSON.stringify(WISHES));

async function withApi(run: (api: ApiServer) => Promise<void>): Promise<void> {
  const api = await ApiServer.start(makeCertificate(folder, 'api', servers));
  try {
    await run(api);
  } finally {
    await api.stop();
  }
}

test('who could be let in by nothing is a mistake of the configuration', async () => {
  await assert.rejects(
    withControl(settings({}), async () => undefined),
    {
      ...{ kind: 'usage', code: 'NO_WAY_IN' },
    },
  );
  const noCluster = { ...settings({ tokens: 'https://x' }) };
  delete noCluster.kubernetes;
  await assert.rejects(
    withControl(noCluster, async () => undefined),
    { code: 'NO_CLUSTER' },
  );
});

test('a certificate of the clients’ authority lets in, and says who it is', async () => {
  await withControl(settings({ certificates: true }), async (control) => {
    const session = await client(control, alice).start(wishes, []);
    const [info] = await client(control, alice).sessions();
    assert.equal(info?.who, 'O=Underspan, CN=alice');
    assert.equal(info?.peer, 'certificate, 127.0.0.1');
    await session.stop();
    assert.deepEqual((await session.summary).functions, []);
  });
});

test('no other certificate does, nor none', async () => {
  await withControl(settings({ certificates: true }), async (control) => {
    for (const proof of [mallory, null]) {
      await assert.rejects(client(control, proof).sessions(), { code: 'AGENT_UNREACHABLE' });
    }
    assert.equal((await client(control, alice).sessions()).length, 0);
  });
});

test('an agent whose certificate is not known is not spoken to', async () => {
  await withControl(settings({ certificates: true }), async (control) => {
    const stranger = new AgentClient({
      at: urlOf(control),
      authorityFile: strangers.certificate,
      certificateFile: alice.certificate,
      keyFile: alice.key,
    });
    await assert.rejects(stranger.sessions(), { code: 'AGENT_UNREACHABLE' });
  });
});

test('a token lets in as far as RBAC allows', async () => {
  await withApi(async (api) => {
    api.add('admin');
    api.add('reader', { verbs: ['get'] });
    api.add('other', { audience: 'vault' });
    await withControl(settings({ tokens: api }), async (control) => {
      const session = await client(control, 'admin').start(wishes, []);
      const [info] = await client(control, 'reader').sessions();
      assert.deepEqual([info?.who, info?.peer], ['user of admin', 'token, 127.0.0.1']);
      const denied = { kind: 'not-permitted', code: 'RBAC_DENIED' };
      await assert.rejects(client(control, 'reader').start(wishes, []), denied);
      await assert.rejects(client(control, 'reader').stop(session.started.id), denied);
      for (const token of ['other', 'unknown', null]) {
        await assert.rejects(client(control, token).sessions(), {
          ...{ kind: 'not-permitted', code: 'NOT_LET_IN' },
        });
      }
      assert.deepEqual([...api.bearers], ['Bearer token-of-the-agent']);
      await client(control, 'admin').stop(session.started.id);
      await session.summary;
      assert.equal(control.engine.traces.length, 1);
    });
  });
});

test('who may start sessions may end their own, and no others', async () => {
  await withApi(async (api) => {
    api.add('a', { verbs: ['create'] });
    api.add('b', { verbs: ['create'] });
    await withControl(settings({ tokens: api }), async (control) => {
      const session = await client(control, 'a').start(wishes, []);
      await assert.rejects(client(control, 'b').stop(session.started.id), { code: 'RBAC_DENIED' });
      await session.stop();
      await session.summary;
    });
  });
});

test('nobody is let in while the API server does not answer, or is another', async () => {
  const unanswered = { kind: 'not-permitted', code: 'API_SERVER_UNANSWERED' };
  await withApi(async (api) => {
    api.add('admin');
    const { url } = api;
    const forged = await ApiServer.start(makeCertificate(folder, 'forged', strangers));
    forged.add('admin');
    try {
      await withControl(settings({ tokens: forged }), async (control) => {
        await assert.rejects(client(control, 'admin').sessions(), unanswered);
      });
    } finally {
      await forged.stop();
    }
    await withControl(settings({ tokens: url }), async (control) => {
      await client(control, 'admin').sessions();
    });
  });
  await withControl(settings({ tokens: 'https://127.0.0.1:1' }), async (control) => {
    await assert.rejects(client(control, 'admin').sessions(), unanswered);
  });
});

test('a yes counts for 30 s, a no is asked again', async () => {
  await withApi(async (api) => {
    api.add('admin');
    let now = 0;
    const tokens = new KubernetesTokens({
      ...{ url: api.url, authorityFile: servers.certificate, tokenFile: agentToken },
      now: () => now,
    });
    const both = async (): Promise<void> => tokens.require(await tokens.user('admin'), 'get');
    await both();
    now = 29_999;
    await both();
    assert.deepEqual(api.asked, ['TokenReview', 'SubjectAccessReview']);
    await assert.rejects(tokens.require({ username: 'user of admin' }, 'get'), {
      code: 'RBAC_DENIED',
    });
    api.add('admin', { verbs: [] });
    now = 30_000;
    await assert.rejects(both(), { code: 'RBAC_DENIED' });
    await assert.rejects(both(), { code: 'RBAC_DENIED' });
    assert.equal(api.asked.length, 6);
  });
});

test('with both ways in a foreign certificate counts for nothing', async () => {
  await withApi(async (api) => {
    api.add('admin');
    await withControl(settings({ certificates: true, tokens: api }), async (control) => {
      await client(control, alice).sessions();
      await client(control, 'admin').sessions();
      await assert.rejects(client(control, mallory).sessions(), { code: 'NOT_LET_IN' });
      await assert.rejects(client(control).sessions(), { code: 'NOT_LET_IN' });
    });
  });
});

test('certificates are renewed while it runs, and kept where the new ones are bad', async () => {
  const own = { certificate: join(folder, 'own.crt'), key: join(folder, 'own.key') };
  const use = ({ certificate, key }: Certificate): void => {
    copyFileSync(certificate, own.certificate);
    copyFileSync(key, own.key);
  };
  use(agent);
  const { network } = settings({ certificates: true });
  assert.ok(network);
  await withControl({ network: { ...network, ...own } }, async (control) => {
    const { server, log } = control;
    use(makeCertificate(folder, 'foreign', strangers));
    server.renewCertificates();
    await assert.rejects(client(control, alice).sessions(), { code: 'AGENT_UNREACHABLE' });
    use(agent);
    server.renewCertificates();
    await client(control, alice).sessions();
    await assert.rejects(client(control, mallory).sessions(), { code: 'AGENT_UNREACHABLE' });
    writeFileSync(own.certificate, 'nonsense');
    server.renewCertificates();
    assert.equal(log.at(-1)?.level, 'error');
    await client(control, alice).sessions();
  });
});

test('a user of the same name as a certificate’s subject is somebody else', async () => {
  await withApi(async (api) => {
    api.add('twin', { username: 'O=Underspan, CN=alice', verbs: ['create'] });
    await withControl(settings({ certificates: true, tokens: api }), async (control) => {
      const { started, summary } = await client(control, alice).start(wishes, []);
      await assert.rejects(client(control, 'twin').stop(started.id), { code: 'RBAC_DENIED' });
      await client(control, alice).stop(started.id);
      await summary;
    });
  });
});

/** Status of GET /v1/sessions over this connection, and the session by which to resume it. */
async function overTls(
  socket: TLSSocket,
): Promise<{ status: string; resumed: boolean; session: Buffer | undefined }> {
  await once(socket, 'secureConnect');
  const resumed = socket.isSessionReused();
  let session: Buffer | undefined;
  socket.on('session', (ticket: Buffer) => (session = ticket));
  socket.write('GET /v1/sessions HTTP/1.1\r\nhost: agent\r\nconnection: close\r\n\r\n');
  let text = '';
  socket.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  await once(socket, 'close');
  return { status: text.slice(9, 12), resumed, session };
}

test('a connection that is resumed without a certificate lets in nobody', async () => {
  await withApi(async (api) => {
    await withControl(settings({ certificates: true, tokens: api }), async ({ server }) => {
      const options = {
        ...{ host: '127.0.0.1', port: server.port ?? 0 },
        ca: readFileSync(servers.certificate),
      };
      const first = await overTls(connect(options));
      assert.equal(first.status, '401');
      assert.ok(first.session, 'the server gave no session to resume');
      const second = await overTls(connect({ ...options, session: first.session }));
      assert.deepEqual([second.resumed, second.status], [true, '401']);
    });
  });
});
