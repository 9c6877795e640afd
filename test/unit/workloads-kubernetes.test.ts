import assert from 'node:assert/strict';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test, type TestContext } from 'node:test';
import type { ServerResponse } from 'node:http';
import type { Notice } from '../../src/sinks/sink.js';
import { NodeWorkloads, type NodeWorkloadsOptions } from '../../src/targets/node-workloads.js';
import { Procfs } from '../../src/targets/procfs.js';
import { makeCertificates } from '../tools/certificates.js';
import { procOf } from '../tools/host-files.js';
import { json, KubeServer, makePod, type Asked } from '../tools/kube-server.js';

const directory = mkdtempSync(join(tmpdir(), 'underspan-kubernetes-'));
after(() => rmSync(directory, { recursive: true }));
mkdirSync(join(directory, 'other'));
const made = makeCertificates(directory);
const certificate = {
  key: readFileSync(made.server.key),
  cert: readFileSync(made.server.certificate),
  authority: made.authority.certificate,
};
const stranger = makeCertificates(join(directory, 'other')).authority;

const A = '0123456789abcdef'.repeat(4);
const B = 'fedcba9876543210'.repeat(4);
const UID = '6f9e0a1b-2c3d-4e5f-8071-92a3b4c5d6e7';
const UID_B = 'aaaaaaaa-2c3d-4e5f-8071-92a3b4c5d6e7';
const REPLICA_SET = '/apis/apps/v1/namespaces/shop/replicasets/checkout-7d9f8c6b5';

const slice = (uid: string): string => `kubepods-pod${uid.replaceAll('-', '_')}.slice`;
const PID = 1;
const PID_B = 2;

interface Setup {
  server: KubeServer;
  workloads: NodeWorkloads;
  notices: Notice[];
  /** Folder of token and authority. */
  account: string;
  /** Resolves when `holds` does, looked at after each change and each request. */
  until: (what: string, holds: () => boolean) => Promise<void>;
}

let setups = 0;
async function setUp(
  t: TestContext,
  {
    source = 'api',
    authority = certificate.authority,
    plain = false,
    verify,
    tuning = {},
    url,
  }: {
    source?: 'api' | 'kubelet';
    authority?: string;
    plain?: boolean;
    verify?: boolean;
    tuning?: NodeWorkloadsOptions['tuning'];
    url?: string;
  } = {},
): Promise<Setup> {
  const folder = join(directory, `setup${setups++}`);
  const account = join(folder, 'account');
  mkdirSync(account, { recursive: true });
  writeFileSync(join(account, 'token'), 'first\n');
  cpSync(authority, join(account, 'ca.crt'));
  const proc = procOf(join(folder, 'proc'), {
    [PID]: `0::/kubepods.slice/${slice(UID)}/cri-containerd-${A}.scope\n`,
    [PID_B]: `0::/kubepods.slice/${slice(UID_B)}/cri-containerd-${B}.scope\n`,
    3: `0::/docker/${'c'.repeat(64)}\n`,
  });
  const server = await KubeServer.start(plain ? null : certificate);
  const notices: Notice[] = [];
  const workloads = new NodeWorkloads({
    procfs: new Procfs(proc),
    root: join(folder, 'host'),
    onNotice: (notice) => notices.push(notice),
    kubernetes: {
      source,
      nodeName: 'node-1',
      url: url ?? server.url,
      serviceAccount: account,
      ...(verify !== undefined && { verify }),
    },
    tuning: {
      backoff: { firstMs: 5, mostMs: 20 },
      kubelet: { everyMs: 20, soonMs: 1 },
      ...tuning,
      limits: { requestsPerSecond: 1_000, ...tuning?.limits },
    },
  });
  t.after(async () => {
    workloads.close();
    await server.close();
  });
  const until = async (what: string, holds: () => boolean): Promise<void> => {
    for (const deadline = Date.now() + 20_000; !holds();) {
      if (Date.now() > deadline) {
        assert.fail(`not ${what}; asked: ${JSON.stringify(server.asked.map(({ path }) => path))}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  };
  return { server, workloads, notices, account, until };
}

const podName = ({ workloads }: Setup, pid = PID): string | undefined =>
  workloads.of(pid).pod?.name;

const onList =
  (answer: (asked: Asked, response: ServerResponse) => void, times = Infinity) =>
  (asked: Asked, response: ServerResponse): boolean => {
    const isList = asked.path === '/pods' || asked.path === '/api/v1/pods';
    if (!isList || asked.query.has('watch') || times-- <= 0) return false;
    answer(asked, response);
    return true;
  };

test('a pod, its labels and its owners, by the API server', async (t) => {
  const setup = await setUp(t);
  const { server, workloads, until } = setup;
  server.objects.set(REPLICA_SET, {
    metadata: { ownerReferences: [{ kind: 'Deployment', name: 'till', controller: true }] },
  });
  server.set(makePod({ uid: UID, containerId: A }));
  // Nothing is asked before it is started.
  assert.equal(podName(setup), undefined);
  assert.equal(server.asked.length, 0);
  const changed: string[] = [];
  workloads.onChange((ids) => changed.push(...ids));
  workloads.start();
  workloads.start();
  await until('known', () => workloads.of(PID).pod?.owners != null);
  assert.deepEqual(workloads.of(PID), {
    container: {
      id: A,
      runtime: 'containerd',
      image: 'registry.example:5000/shop/checkout:1.2',
      name: 'checkout',
    },
    pod: {
      name: 'checkout-7d9f8c6b5-abcde',
      namespace: 'shop',
      uid: UID,
      node: 'node-1',
      labels: { app: 'checkout', 'pod-template-hash': '7d9f8c6b5' },
      // As the ReplicaSet says it, not as its name does.
      owners: [
        { kind: 'ReplicaSet', name: 'checkout-7d9f8c6b5' },
        { kind: 'Deployment', name: 'till' },
      ],
    },
  });
  assert.deepEqual(workloads.attributes(PID), {
    'container.id': A,
    'container.name': 'checkout',
    'container.image.name': 'registry.example:5000/shop/checkout',
    'container.image.tags': ['1.2'],
    'k8s.container.name': 'checkout',
    'k8s.deployment.name': 'till',
    'k8s.namespace.name': 'shop',
    'k8s.node.name': 'node-1',
    'k8s.pod.name': 'checkout-7d9f8c6b5-abcde',
    'k8s.pod.uid': UID,
    'k8s.replicaset.name': 'checkout-7d9f8c6b5',
    'service.name': 'till',
  });
  assert.ok(changed.length > 0 && changed.every((id) => id === A));
  const [list] = server.asked;
  assert.equal(list?.path, '/api/v1/pods');
  assert.equal(list.query.get('fieldSelector'), 'spec.nodeName=node-1');
  assert.equal(list.query.get('resourceVersion'), '0');
  assert.equal(list.authorization, 'Bearer first');
  await until('watched', () => server.watching === 1);
  const watch = server.asked.find(({ query }) => query.has('watch'));
  assert.equal(watch?.query.get('resourceVersion'), '101');
  assert.equal(watch.query.get('allowWatchBookmarks'), 'true');
});

test('pods come, change and go while they are watched', async (t) => {
  const setup = await setUp(t);
  const { server, workloads, until } = setup;
  workloads.start();
  await until('watched', () => server.watching === 1);
  const changes: string[][] = [];
  workloads.onChange((ids) => changes.push([...ids]));
  assert.equal(podName(setup), undefined);
  assert.equal(podName(setup, PID_B), undefined);

  // Its container is not in the status yet: the control group has the pod's id.
  server.set(makePod({ uid: UID, owner: null }));
  await until('told', () => changes.length === 1);
  assert.deepEqual(changes, [[A]]);
  assert.equal(podName(setup), 'checkout-7d9f8c6b5-abcde');
  assert.equal(workloads.attributes(PID)['container.name'], undefined);
  assert.equal(workloads.attributes(PID)['service.name'], 'checkout-7d9f8c6b5-abcde');

  server.set(makePod({ uid: UID, owner: null, containerId: A, labels: { tier: 'back' } }));
  await until('told', () => changes.length === 2);
  assert.equal(workloads.of(PID).pod?.labels?.['tier'], 'back');
  assert.equal(workloads.attributes(PID)['container.name'], 'checkout');

  // Nothing that was said has changed.
  server.set(makePod({ uid: UID, owner: null, containerId: A, labels: { tier: 'back' } }));
  server.set(makePod({ uid: UID_B, owner: null, containerId: B, name: 'other' }));
  await until('told', () => changes.length === 3);
  assert.deepEqual(changes[2], [B]);
  assert.equal(podName(setup, PID_B), 'other');

  server.delete(UID);
  await until('gone', () => workloads.of(PID).pod === null);
  assert.equal(podName(setup, PID_B), 'other');
  // A pod whose containers have ended is as good as gone.
  server.set(makePod({ uid: UID_B, owner: null, containerId: B, phase: 'Succeeded' }));
  await until('gone', () => workloads.of(PID_B).pod === null);
  assert.equal(server.askedFor('/api/v1/pods').length, 2);
});

test('a watch goes on where it was broken off', async (t) => {
  const setup = await setUp(t);
  const { server, workloads, notices, until } = setup;
  workloads.start();
  await until('watched', () => server.watching === 1);
  server.emit('BOOKMARK', { metadata: { resourceVersion: '777' } });
  server.set(makePod({ uid: UID_B, owner: null, containerId: B }));
  await until('known', () => podName(setup, PID_B) !== undefined);
  for (const how of ['end', 'destroy'] as const) {
    server.emit('BOOKMARK', { metadata: { resourceVersion: `${how}ed` } });
    // By the next event the bookmark has been read.
    server.emit('ADDED', makePod({ uid: how, owner: null, containerId: B, name: how }));
    await until('read', () => podName(setup, PID_B) === how);
    const before = server.asked.length;
    server.endWatches(how);
    await until('watched again', () => server.watching === 1);
    const { query } = server.asked[before] as Asked;
    assert.equal(query.get('watch'), '1');
    assert.equal(query.get('resourceVersion'), `${how}ed`);
  }
  server.set(makePod({ uid: UID, owner: null, containerId: A }));
  await until('known', () => podName(setup) !== undefined);
  assert.equal(podName(setup, PID_B), 'destroy');
  // One of the two ends was a fault.
  assert.deepEqual(
    notices.map(({ code }) => code),
    ['PODS_NOT_READ'],
  );
});

test('what the server has forgotten is listed again', async (t) => {
  const setup = await setUp(t);
  const { server, workloads, until } = setup;
  server.set(makePod({ uid: UID, owner: null, containerId: A }));
  workloads.start();
  await until('watched', () => server.watching === 1);
  // Told in the watch, and as an answer; meanwhile one pod has gone and another come.
  server.pods.delete(UID);
  server.pods.set(UID_B, makePod({ uid: UID_B, owner: null, containerId: B }));
  server.emit('ERROR', { kind: 'Status', code: 410, reason: 'Expired' });
  await until('listed again', () => podName(setup, PID_B) !== undefined);
  assert.equal(podName(setup), undefined);
  const lists = server.asked.filter(({ query }) => !query.has('watch'));
  // Now it has to be a current one.
  assert.deepEqual(
    lists.map(({ query }) => query.get('resourceVersion')),
    ['0', null],
  );
  await until('watched', () => server.watching === 1);
  server.pods.clear();
  server.intercept = (asked, response) => {
    if (!asked.query.has('watch')) return false;
    server.intercept = null;
    json(response, 410, { kind: 'Status', code: 410 });
    return true;
  };
  server.endWatches('end');
  await until('listed again', () => podName(setup, PID_B) === undefined);
  // Something that is no event.
  await until('watched', () => server.watching === 1);
  server.pods.set(UID, makePod({ uid: UID, owner: null, containerId: A }));
  server.send('{"type":');
  await until('listed again', () => podName(setup) !== undefined);
});

test('a long list is read in parts', async (t) => {
  const setup = await setUp(t);
  const { server, workloads, until } = setup;
  workloads.start();
  await until('watched', () => server.watching === 1);
  const pods = [
    makePod({ uid: UID, owner: null, containerId: A }),
    makePod({ uid: UID_B, owner: null, containerId: B, name: 'other' }),
  ];
  server.intercept = onList(({ query }, response) => {
    const next = query.get('continue');
    assert.equal(query.get('limit'), '250');
    json(response, 200, {
      metadata: { resourceVersion: '5', ...(next === null && { continue: 'a b+c' }) },
      items: next === 'a b+c' ? [pods[1]] : [pods[0]],
    });
  });
  server.emit('ERROR', { code: 410 });
  await until('known', () => podName(setup, PID_B) === 'other');
  assert.equal(podName(setup), 'checkout-7d9f8c6b5-abcde');
});

test('failures are told once and tried again', async (t) => {
  const answers: [string, (asked: Asked, response: ServerResponse) => void, RegExp][] = [
    ['forbidden', (_, response) => json(response, 403, {}), /status 403/],
    ['failing', (_, response) => json(response, 500, {}), /status 500/],
    ['sent elsewhere', (_, response) => json(response, 302, {}), /status 302/],
    ['no JSON', (_, response) => response.end('<html>'), /JSON/],
    ['no list', (_, response) => json(response, 200, []), /no version/],
    ['broken off', (_, response) => response.destroy(), /socket hang up/],
    ['too large', (_, response) => response.end('x'.repeat(200_000)), /larger than 100000/],
    ['slow', () => undefined, /not answered within 100 ms/],
  ];
  for (const [what, answer, problem] of answers) {
    await t.test(what, async (t) => {
      // On a busy host an answer may take longer than the one that does not come is waited for.
      const requestMs = what === 'slow' ? 100 : 60_000;
      const setup = await setUp(t, { tuning: { limits: { bytes: 100_000, requestMs } } });
      const { server, workloads, notices, until } = setup;
      server.set(makePod({ uid: UID, owner: null, containerId: A }));
      server.intercept = onList(answer, 3);
      workloads.start();
      // What is known without Kubernetes is there all the while.
      assert.equal(workloads.of(PID).container?.id, A);
      await until('known', () => podName(setup) !== undefined);
      const [notice] = notices;
      assert.equal(notices.length, 1);
      assert.equal(notice?.code, 'PODS_NOT_READ');
      assert.match(notice.message, problem);
      assert.match(notice.message, /the API server \(https:/);
    });
  }
});

test('an event that is too long is left out, those after it are not', async (t) => {
  const setup = await setUp(t, { tuning: { limits: { lineBytes: 20_000 } } });
  const { server, workloads, until } = setup;
  workloads.start();
  await until('watched', () => server.watching === 1);
  server.set(makePod({ uid: UID, owner: null, containerId: A, image: 'x'.repeat(300_000) }));
  server.set(makePod({ uid: UID_B, owner: null, containerId: B }));
  await until('known', () => podName(setup, PID_B) !== undefined);
  assert.equal(podName(setup), undefined);
});

test('what is no pod is left out', async (t) => {
  const setup = await setUp(t);
  const { server, workloads, until } = setup;
  const bad = [
    null,
    [],
    7,
    {},
    { metadata: { name: 7, namespace: 'shop', uid: 'u' } },
    { metadata: { name: 'a', namespace: 'b' } },
    { metadata: { name: 'x'.repeat(2_000), namespace: 'b', uid: 'c' } },
  ];
  const odd = makePod({ uid: UID, containerId: A });
  odd.metadata['ownerReferences'] = [null, 7, { controller: true, kind: 'Job' }];
  odd.metadata['labels'] = { ok: 'yes', number: 7, long: 'x'.repeat(2_000), empty: '' };
  odd['spec'] = { nodeName: 7, containers: [null, { name: 'checkout', image: 7 }] };
  odd['status'] = {
    containerStatuses: [null, { name: 'checkout', containerID: `containerd://${A}` }],
  };
  server.intercept = onList((_, response) =>
    json(response, 200, { metadata: { resourceVersion: '1' }, items: [...bad, odd] }),
  );
  workloads.start();
  await until('known', () => podName(setup) !== undefined);
  assert.deepEqual(workloads.of(PID).pod, {
    name: 'checkout-7d9f8c6b5-abcde',
    namespace: 'shop',
    uid: UID,
    node: 'node-1',
    labels: { ok: 'yes', empty: '' },
    owners: [],
  });
  await until('watched', () => server.watching === 1);
  for (const object of bad) server.emit('ADDED', object);
  server.emit('FUTURE', makePod({ uid: UID_B }));
  server.set(makePod({ uid: UID_B, owner: null, containerId: B }));
  await until('known', () => podName(setup, PID_B) !== undefined);
});

test('tokens and authorities are read again', async (t) => {
  const setup = await setUp(t, { authority: stranger.certificate });
  const { server, workloads, notices, account, until } = setup;
  server.set(makePod({ uid: UID, owner: null, containerId: A }));
  workloads.start();
  await until('refused', () => notices.length > 0);
  assert.match(notices[0]?.message ?? '', /certificate/);
  // Not a word was said to a server that is not known.
  assert.equal(server.asked.length, 0);
  cpSync(certificate.authority, join(account, 'ca.crt'));
  await until('watched', () => server.watching === 1);
  writeFileSync(join(account, 'token'), 'second');
  server.endWatches('end');
  await until('watched again', () => server.watching === 1);
  assert.deepEqual(
    server.asked.map(({ authorization }) => authorization),
    ['Bearer first', 'Bearer first', 'Bearer second'],
  );
  rmSync(join(account, 'token'));
  server.endWatches('end');
  await until('told', () => notices.length > 1);
  writeFileSync(join(account, 'token'), 'third');
  await until('watched again', () => server.watching === 1);
  assert.equal(server.asked.at(-1)?.authorization, 'Bearer third');
});

test('owners by name where they may not be looked at', async (t) => {
  const setup = await setUp(t);
  const { server, workloads, until } = setup;
  const job = { kind: 'Job', name: 'report-28912345' };
  server.set(makePod({ uid: UID, containerId: A }));
  server.set(makePod({ uid: UID_B, containerId: B, owner: job }));
  server.intercept = ({ path }, response) => {
    if (!path.startsWith('/apis/')) return false;
    json(response, 403, {});
    return true;
  };
  workloads.start();
  await until('known', () => [PID, PID_B].every((pid) => workloads.of(pid).pod?.owners));
  assert.deepEqual(workloads.of(PID).pod?.owners, [
    { kind: 'ReplicaSet', name: 'checkout-7d9f8c6b5' },
    { kind: 'Deployment', name: 'checkout' },
  ]);
  assert.deepEqual(workloads.of(PID_B).pod?.owners, [job, { kind: 'CronJob', name: 'report' }]);
  assert.equal(workloads.attributes(PID_B)['service.name'], 'report');
  assert.equal(workloads.attributes(PID_B)['k8s.job.name'], 'report-28912345');
  // Each was asked for once.
  for (let i = 0; i < 20; i++) workloads.of(PID);
  assert.equal(server.askedFor(REPLICA_SET).length, 1);
});

test('while it is not known what a pod belongs to, its service has no name', async (t) => {
  const setup = await setUp(t);
  const { server, workloads, until } = setup;
  let release = (): void => undefined;
  server.intercept = ({ path }, response) => {
    if (path !== REPLICA_SET) return false;
    release = () => json(response, 200, { metadata: {} });
    return true;
  };
  server.set(makePod({ uid: UID, containerId: A }));
  workloads.start();
  await until('known', () => podName(setup) !== undefined);
  assert.equal(workloads.of(PID).pod?.owners, null);
  assert.equal(workloads.attributes(PID)['service.name'], undefined);
  await until('asked', () => server.askedFor(REPLICA_SET).length === 1);
  const changed = new Promise<ReadonlySet<string>>((resolve) => workloads.onChange(resolve));
  release();
  assert.deepEqual([...(await changed)], [A]);
  assert.deepEqual(workloads.of(PID).pod?.owners, [
    { kind: 'ReplicaSet', name: 'checkout-7d9f8c6b5' },
  ]);
  assert.equal(workloads.attributes(PID)['service.name'], 'checkout-7d9f8c6b5');
});

test('a pod says its attributes by annotations', async (t) => {
  const setup = await setUp(t);
  const { server, workloads, until } = setup;
  const annotations = {
    'resource.opentelemetry.io/service.name': 'cart',
    'resource.opentelemetry.io/service.version': '7',
    'resource.opentelemetry.io/empty': '',
    'app.example/service.name': 'no',
  };
  server.set(makePod({ uid: UID, containerId: A, owner: null, annotations }));
  workloads.start();
  await until('known', () => podName(setup) !== undefined);
  const attributes = workloads.attributes(PID);
  assert.equal(attributes['service.name'], 'cart');
  assert.equal(attributes['service.version'], '7');
  assert.ok(!('empty' in attributes));
});

test('a static pod is known by the hash of its file', async (t) => {
  const setup = await setUp(t);
  const { server, workloads, until } = setup;
  const mirror = { 'kubernetes.io/config.mirror': UID };
  const mirrored = makePod({ uid: 'the-mirror', owner: null, annotations: mirror, name: 'proxy' });
  server.set(mirrored);
  workloads.start();
  await until('known', () => podName(setup) === 'proxy');
  assert.equal(workloads.attributes(PID)['k8s.pod.uid'], 'the-mirror');
  await until('watched', () => server.watching === 1);
  server.delete('the-mirror');
  await until('gone', () => podName(setup) === undefined);
});

test('pods by the kubelet, read again and again', async (t) => {
  const setup = await setUp(t, { source: 'kubelet' });
  const { server, workloads, until } = setup;
  server.set(makePod({ uid: UID, containerId: A }));
  workloads.start();
  await until('known', () => podName(setup) !== undefined);
  assert.deepEqual(workloads.of(PID).pod?.owners?.[1], { kind: 'Deployment', name: 'checkout' });
  assert.equal(server.asked[0]?.path, '/pods');
  assert.equal(server.asked[0]?.authorization, 'Bearer first');
  const changes: string[] = [];
  workloads.onChange((ids) => changes.push(...ids));
  assert.equal(podName(setup, PID_B), undefined);
  server.set(makePod({ uid: UID_B, containerId: B }));
  await until('known', () => podName(setup, PID_B) !== undefined);
  assert.deepEqual(changes, [B]);
  server.delete(UID);
  await until('gone', () => podName(setup) === undefined);
});

test('a pod that is missed is asked for at once, others are not', async (t) => {
  const setup = await setUp(t, {
    source: 'kubelet',
    tuning: { kubelet: { everyMs: 3_600_000, soonMs: 1 } },
  });
  const { server, workloads, until } = setup;
  server.set(makePod({ uid: UID, containerId: A }));
  workloads.start();
  assert.equal(podName(setup), undefined);
  await until('known', () => podName(setup) !== undefined);
  // Missed while it was being read: once more. Then it waits.
  await until('asked twice', () => server.asked.length === 2);
  // Neither a known pod nor a container without one makes it ask.
  await new Promise((resolve) => setTimeout(resolve, 50));
  workloads.of(3);
  workloads.of(PID);
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(server.asked.length, 2);
  server.set(makePod({ uid: UID_B, containerId: B }));
  await until('known', () => podName(setup, PID_B) !== undefined);
  assert.equal(server.asked.length, 3);
});

test("a kubelet's own certificate is trusted only when asked", async (t) => {
  const authority = stranger.certificate;
  await t.test('not asked', async (t) => {
    const setup = await setUp(t, { source: 'kubelet', authority });
    setup.workloads.start();
    await setup.until('told', () => setup.notices.length > 0);
    assert.match(setup.notices[0]?.message ?? '', /the kubelet .*certificate/);
    assert.equal(setup.server.asked.length, 0);
  });
  await t.test('asked', async (t) => {
    const setup = await setUp(t, { source: 'kubelet', authority, verify: false });
    setup.server.set(makePod({ uid: UID, containerId: A }));
    setup.workloads.start();
    await setup.until('known', () => podName(setup) !== undefined);
  });
});

test('the read-only port gets no token', async (t) => {
  const setup = await setUp(t, { source: 'kubelet', plain: true });
  setup.server.set(makePod({ uid: UID, containerId: A }));
  setup.workloads.start();
  await setup.until('known', () => podName(setup) !== undefined);
  assert.equal(setup.server.asked[0]?.authorization, undefined);
});

test('requests are no faster than their rate', async (t) => {
  const setup = await setUp(t, {
    source: 'kubelet',
    tuning: { limits: { requestsPerSecond: 10 }, kubelet: { everyMs: 1, soonMs: 0 } },
  });
  const { server, workloads, until } = setup;
  const began = performance.now();
  workloads.start();
  await until('asked five times', () => server.asked.length >= 5);
  // Four pauses of 100 ms, less what timers may be early.
  assert.ok(performance.now() - began >= 350);
});

test('nothing is asked after the end', async (t) => {
  const setup = await setUp(t);
  const { server, workloads, until } = setup;
  workloads.start();
  await until('watched', () => server.watching === 1);
  let changes = 0;
  workloads.onChange(() => changes++);
  server.set(makePod({ uid: UID, containerId: A }));
  workloads.close();
  await until('left', () => server.watching === 0);
  const asked = server.asked.length;
  await new Promise((resolve) => setTimeout(resolve, 60));
  assert.equal(server.asked.length, asked);
  assert.equal(changes, 0);
});
