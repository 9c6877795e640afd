import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { after, test } from 'node:test';
import { Containers } from '../../src/targets/containers/containers.js';
import { imageName, splitImage } from '../../src/targets/containers/image.js';
import { NodeWorkloads } from '../../src/targets/node-workloads.js';
import { Procfs } from '../../src/targets/procfs.js';
import { criAnnotations, HostFiles, procOf } from '../tools/host-files.js';

const directory = mkdtempSync(join(tmpdir(), 'underspan-workloads-'));
after(() => rmSync(directory, { recursive: true }));

const A = '0123456789abcdef'.repeat(4);
const B = 'fedcba9876543210'.repeat(4);
const UID = '6f9e0a1b-2c3d-4e5f-8071-92a3b4c5d6e7';
const IMAGE = 'registry.example:5000/shop/checkout:1.2';

let hosts = 0;
const newHost = (): HostFiles => new HostFiles(join(directory, `host${hosts++}`));
const factsOf = (host: HostFiles, id = A) => new Containers(host.root).of(id, null);
const pod = { name: 'checkout-7d9', namespace: 'shop', uid: UID };
const unasked = { node: null, labels: null, owners: null };
const unknown = { id: A, runtime: 'unknown', image: null, name: null };

for (const state of ['/run/containerd', '/run/k3s/containerd', '/run/k0s/containerd']) {
  test(`a bundle of containerd in ${state}`, () => {
    const host = newHost();
    host.containerd(A, criAnnotations({ pod: pod.name, uid: UID }), state);
    assert.deepEqual(factsOf(host), {
      container: { id: A, runtime: 'containerd', image: IMAGE, name: 'checkout' },
      pod: { ...pod, ...unasked },
    });
  });
}

test("the sandbox of containerd's pods is no container of them", () => {
  const host = newHost();
  host.containerd(A, {
    'io.kubernetes.cri.container-type': 'sandbox',
    'io.kubernetes.cri.podsandbox.image-name': 'registry.k8s.io/pause:3.9',
    'io.kubernetes.cri.sandbox-name': pod.name,
    'io.kubernetes.cri.sandbox-namespace': pod.namespace,
    'io.kubernetes.cri.sandbox-uid': UID,
  });
  assert.deepEqual(factsOf(host), {
    container: { id: A, runtime: 'containerd', image: 'registry.k8s.io/pause:3.9', name: null },
    pod: { ...pod, ...unasked },
  });
});

test('what containerd runs for itself has no pod', () => {
  const host = newHost();
  host.containerd(A, undefined, '/run/containerd', 'default');
  host.containerd(B, null, '/run/docker/containerd/daemon', 'moby');
  assert.deepEqual(factsOf(host), {
    container: { ...unknown, runtime: 'containerd' },
    pod: null,
  });
  assert.equal(factsOf(host, B).container.runtime, 'docker');
});

test('a bundle of CRI-O', () => {
  const host = newHost();
  const annotations = {
    'io.container.manager': 'cri-o',
    'io.kubernetes.container.name': 'checkout',
    'io.kubernetes.cri-o.ContainerType': 'container',
    'io.kubernetes.cri-o.Image': IMAGE,
    'io.kubernetes.cri-o.ImageName': 'registry.example/other/name:latest',
    'io.kubernetes.pod.name': pod.name,
    'io.kubernetes.pod.namespace': pod.namespace,
    'io.kubernetes.pod.uid': UID,
  };
  host.crio(A, annotations);
  assert.deepEqual(factsOf(host), {
    container: { id: A, runtime: 'cri-o', image: IMAGE, name: 'checkout' },
    pod: { ...pod, ...unasked },
  });
  // Asked for by id: the image has another name, and without labels the metadata has the name.
  host.crio(B, {
    'io.container.manager': 'cri-o',
    'io.kubernetes.cri-o.Image': 'a'.repeat(64),
    'io.kubernetes.cri-o.ImageName': IMAGE,
    'io.kubernetes.cri-o.Metadata': '{"name":"checkout"}',
  });
  assert.deepEqual(factsOf(host, B), {
    container: { id: B, runtime: 'cri-o', image: IMAGE, name: 'checkout' },
    pod: null,
  });
});

test("Docker's record", () => {
  const host = newHost();
  host.docker(A, { ID: A, Name: '/shop', Config: { Image: 'shop:1.2', Labels: {} } });
  // That containerd has a bundle for it says less.
  host.containerd(A, null, '/run/containerd', 'moby');
  assert.deepEqual(factsOf(host), {
    container: { id: A, runtime: 'docker', image: 'shop:1.2', name: 'shop' },
    pod: null,
  });
  host.docker(B, {
    Name: '/k8s_checkout_checkout-7d9_shop_6f9e_0',
    Config: {
      Image: `sha256:${'a'.repeat(64)}`,
      Labels: {
        'io.kubernetes.container.name': 'checkout',
        'io.kubernetes.pod.name': pod.name,
        'io.kubernetes.pod.namespace': pod.namespace,
        'io.kubernetes.pod.uid': UID,
      },
    },
  });
  assert.deepEqual(factsOf(host, B), {
    container: { id: B, runtime: 'docker', image: null, name: 'checkout' },
    pod: { ...pod, ...unasked },
  });
});

test('images by name and tag', () => {
  const digest = `sha256:${'a'.repeat(64)}`;
  assert.deepEqual(splitImage('shop'), { name: 'shop', tag: null });
  assert.deepEqual(splitImage('shop:1'), { name: 'shop', tag: '1' });
  assert.deepEqual(splitImage('r:5000/a/shop'), { name: 'r:5000/a/shop', tag: null });
  assert.deepEqual(splitImage(`r:5000/shop:1@${digest}`), { name: 'r:5000/shop', tag: '1' });
  assert.deepEqual(splitImage(`r/shop@${digest}`), { name: 'r/shop', tag: null });
  assert.equal(imageName(digest), null);
  assert.equal(imageName('a'.repeat(64)), null);
});

test('files that are not what they should be say nothing', () => {
  for (const content of [
    '',
    '{',
    '[]',
    'null',
    '"text"',
    `{"annotations":{"io.kubernetes.cri.image-name":"x"},"a":"${'x'.repeat(1_048_576)}"}`,
  ]) {
    const host = newHost();
    host.write(`/run/containerd/io.containerd.runtime.v2.task/k8s.io/${A}/config.json`, content);
    assert.deepEqual(factsOf(host), { container: unknown, pod: null });
  }
  for (const annotations of [[], 7, { 'io.kubernetes.cri.image-name': 7 }]) {
    const host = newHost();
    host.containerd(A, annotations);
    assert.deepEqual(factsOf(host).container, { ...unknown, runtime: 'containerd' });
  }
  const host = newHost();
  host.containerd(A, {
    ...criAnnotations({ pod: 'p', uid: UID }),
    'io.kubernetes.cri.image-name': 'x'.repeat(5_000),
    'io.kubernetes.cri.sandbox-namespace': { a: 1 },
  });
  assert.deepEqual(factsOf(host), {
    container: { id: A, runtime: 'containerd', image: null, name: 'checkout' },
    pod: null,
  });
});

test('a pipe is not waited for, and a directory is no file', () => {
  const host = newHost();
  const file = join(host.root, `/run/containerd/io.containerd.runtime.v2.task/k8s.io/${A}`);
  mkdirSync(file, { recursive: true });
  execFileSync('mkfifo', [join(file, 'config.json')]);
  assert.deepEqual(factsOf(host), { container: unknown, pod: null });
  const other = newHost();
  mkdirSync(join(other.root, `/var/lib/docker/containers/${A}/config.v2.json`), {
    recursive: true,
  });
  assert.deepEqual(factsOf(other), { container: unknown, pod: null });
});

test("links stay within the host's root, and are followed there", () => {
  const host = newHost();
  const moved = new HostFiles(join(host.root, 'srv/moved'));
  moved.write(`containers/${A}/config.v2.json`, { Name: '/shop', Config: { Image: 'shop:1' } });
  mkdirSync(join(host.root, 'var/lib'), { recursive: true });
  symlinkSync('/srv/moved', join(host.root, 'var/lib/docker'));
  assert.equal(factsOf(host).container.name, 'shop');

  // Out of it: by an absolute link, and by climbing.
  const secret = newHost();
  secret.write(`containers/${A}/config.v2.json`, { Name: '/secret', Config: {} });
  for (const relatively of [false, true]) {
    const outward = newHost();
    const lib = join(outward.root, 'var/lib');
    mkdirSync(lib, { recursive: true });
    symlinkSync(relatively ? relative(lib, secret.root) : secret.root, join(lib, 'docker'));
    assert.ok(existsSync(join(lib, `docker/containers/${A}/config.v2.json`)));
    assert.deepEqual(factsOf(outward).container, unknown);
  }
  const loop = newHost();
  mkdirSync(join(loop.root, 'var/lib'), { recursive: true });
  symlinkSync('docker', join(loop.root, 'var/lib/docker'));
  assert.deepEqual(factsOf(loop).container, unknown);
});

test('what is no id leads to no file', () => {
  const host = newHost();
  host.docker('x', { Name: '/x', Config: {} });
  for (const id of ['x', '../x', `${A}/../x`, '']) {
    assert.equal(factsOf(host, id).container.name, null);
  }
});

test('answers are kept, those of nothing for a while', () => {
  let now = 0;
  const host = newHost();
  const containers = new Containers(host.root, () => now);
  assert.equal(containers.of(A, 'cri-o').container.runtime, 'cri-o');
  const file = host.docker(A, { Name: '/shop', Config: {} });
  assert.equal(containers.of(A, null).container.name, null);
  now += 11_000;
  assert.equal(containers.of(A, null).container.name, 'shop');
  rmSync(dirname(file), { recursive: true });
  now += 3_600_000;
  assert.equal(containers.of(A, null).container.name, 'shop');
  // So many others that it has to go.
  for (let id = 0; id < 2_048; id++) containers.of(id.toString(16).padStart(64, '0'), null);
  assert.equal(containers.of(A, null).container.name, null);
});

test('a node without Kubernetes: the engine says what it knows', () => {
  const host = newHost();
  host.docker(A, { Name: '/shop', Config: { Image: 'r.example/shop:1.2' } });
  host.containerd(B, criAnnotations({ pod: pod.name, uid: UID }));
  const slice = `kubepods-pod${UID.replaceAll('-', '_')}.slice`;
  const proc = procOf(join(host.root, 'proc'), {
    1: `0::/system.slice/docker-${A}.scope\n`,
    2: `0::/kubepods.slice/${slice}/cri-containerd-${B}.scope\n`,
    3: '0::/user.slice\n',
    4: `0::/kubepods.slice/${slice}/cri-containerd-${'a'.repeat(64)}.scope\n`,
    5: `0::/kubepods.slice/${slice}/cri-containerd-${B}.scope/docker/${A}\n`,
  });
  const workloads = new NodeWorkloads({ procfs: new Procfs(proc), root: host.root });
  workloads.start();
  assert.deepEqual(workloads.of(1), {
    container: { id: A, runtime: 'docker', image: 'r.example/shop:1.2', name: 'shop' },
    pod: null,
  });
  assert.deepEqual(workloads.attributes(1), {
    'container.id': A,
    'container.name': 'shop',
    'container.image.name': 'r.example/shop',
    'container.image.tags': ['1.2'],
  });
  assert.deepEqual(workloads.attributes(2), {
    'container.id': B,
    'container.name': 'checkout',
    'container.image.name': 'registry.example:5000/shop/checkout',
    'container.image.tags': ['1.2'],
    'k8s.pod.uid': UID,
    'k8s.namespace.name': 'shop',
    'k8s.pod.name': 'checkout-7d9',
    'k8s.container.name': 'checkout',
  });
  assert.deepEqual(workloads.of(3), { container: null, pod: null });
  assert.deepEqual(workloads.attributes(3), {});
  assert.deepEqual(workloads.of(99), { container: null, pod: null });
  // No file: what the control group says is still known.
  assert.deepEqual(workloads.attributes(4), { 'container.id': 'a'.repeat(64), 'k8s.pod.uid': UID });
  // A container in a container of the pod.
  assert.deepEqual(workloads.of(5).container?.name, 'shop');
  assert.deepEqual(workloads.of(5).pod?.name, 'checkout-7d9');
  assert.equal(workloads.attributes(5)['k8s.container.name'], 'checkout');
  writeFileSync(join(proc, '3/cgroup'), '\0'.repeat(100_000));
  assert.deepEqual(workloads.of(3), { container: null, pod: null });
  workloads.close();
});

test('an engine in a container has its files there', () => {
  const host = newHost();
  const node = new HostFiles(join(host.root, 'of-the-node'));
  node.containerd(B, criAnnotations({ pod: pod.name, uid: UID }));
  node.containerd('c'.repeat(64), criAnnotations({ pod: 'not-this', uid: UID }));
  const slice = `kubelet-kubepods-pod${UID.replaceAll('-', '_')}.slice`;
  const inPod = (id: string): string =>
    `0::/docker/${A}/kubelet.slice/${slice}/cri-containerd-${id}.scope\n`;
  const proc = procOf(join(host.root, 'proc'), {
    7: inPod(B),
    // The pod's other container, whose files are its image's: namespaces may be shared.
    8: inPod('a'.repeat(64)),
    9: `0::/docker/${A}/system.slice/containerd.service\n`,
    10: '0::/\n',
    // In another node, of which no process is up its line.
    11: inPod(B).replace(A, 'b'.repeat(64)).replace(B, 'c'.repeat(64)),
  });
  for (const [pid, parent, root] of [
    [7, 8, 'other'],
    [8, 9, 'other'],
    [9, 10, 'of-the-node'],
    [10, 0, 'other'],
    [11, 9, 'other'],
  ] as const) {
    writeFileSync(join(proc, `${pid}/stat`), `${pid} (shop) S ${parent} 0 0`);
    symlinkSync(join(host.root, root), join(proc, `${pid}/root`));
  }
  const workloads = new NodeWorkloads({ procfs: new Procfs(proc), root: host.root });
  assert.deepEqual(workloads.of(7), {
    container: { id: B, runtime: 'containerd', image: IMAGE, name: 'checkout' },
    pod: { ...pod, ...unasked },
  });
  assert.equal(workloads.of(8).container?.image, null);
  assert.equal(workloads.of(11).container?.image, null);
});

test("by default the engines' files are those that the first process sees", () => {
  const host = newHost();
  host.docker(A, { Name: '/shop', Config: {} });
  const proc = procOf(join(host.root, 'proc'), { 1: '0::/', 2: `0::/docker/${A}` });
  symlinkSync(host.root, join(proc, '1/root'));
  assert.equal(new NodeWorkloads({ procfs: new Procfs(proc) }).of(2).container?.name, 'shop');
});
