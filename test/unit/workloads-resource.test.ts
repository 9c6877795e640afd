import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { ModulePlan } from '../../src/plan/plan.js';
import { ProcessResources } from '../../src/session/resources.js';
import type { ResourceValue } from '../../src/spans/span.js';
import { Procfs } from '../../src/targets/procfs.js';
import type { Target } from '../../src/targets/target.js';
import type { Workloads } from '../../src/targets/workload.js';

const directory = mkdtempSync(join(tmpdir(), 'underspan-resource-'));
after(() => rmSync(directory, { recursive: true }));

const ID = '0123456789abcdef'.repeat(4);
const target: Target = {
  pid: 7,
  startTime: 1,
  comm: 'shop',
  exe: '/srv/bin/shop',
  file: '/proc/7/exe',
  fileId: '1:2',
  argv: ['shop'],
};
const plan = {
  module: { facts: { go: { version: 'go1.26.8', mainModule: 'example.com/shop', modules: {} } } },
  layout: {},
} as unknown as ModulePlan;

class FakeWorkloads implements Workloads {
  said: Record<string, ResourceValue> = {};
  listeners = new Set<(ids: ReadonlySet<string>) => void>();
  of = () => ({
    container: { id: ID, runtime: 'docker' as const, image: null, name: null },
    pod: null,
  });
  attributes = () => this.said;
  onChange(listener: (ids: ReadonlySet<string>) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
  start = () => undefined;
  close = () => undefined;
}

function resources(environment: string[], more: object = {}): ProcessResources {
  mkdirSync(join(directory, '7'), { recursive: true });
  writeFileSync(join(directory, '7/environ'), environment.map((each) => `${each}\0`).join(''));
  writeFileSync(join(directory, '7/cgroup'), `0::/docker/${ID}\n`);
  return new ProcessResources({
    procfs: new Procfs(directory),
    target: () => target,
    plan: () => plan,
    onNotice: () => undefined,
    ...more,
  });
}

test('without workloads a resource is as it was', () => {
  assert.deepEqual(
    { ...resources([]).of(7).attributes },
    { 'service.name': 'unknown_service:shop', 'container.id': ID },
  );
});

test('an agent adds the process and its runtime', () => {
  assert.deepEqual(
    { ...resources([], { processAttributes: true }).of(7).attributes },
    {
      'service.name': 'unknown_service:shop',
      'container.id': ID,
      'process.executable.name': 'shop',
      'process.executable.path': '/srv/bin/shop',
      'process.runtime.name': 'go',
      'process.runtime.version': 'go1.26.8',
    },
  );
});

test('the program has the last word', () => {
  const workloads = new FakeWorkloads();
  workloads.said = { 'service.name': 'checkout', 'k8s.pod.name': 'a', 'k8s.namespace.name': 'b' };
  const named = (...environment: string[]) =>
    resources(environment, { workloads }).of(7).attributes;
  assert.equal(named()['service.name'], 'checkout');
  assert.equal(named('OTEL_SERVICE_NAME=cart')['service.name'], 'cart');
  const own = named('OTEL_RESOURCE_ATTRIBUTES=service.name=cart,k8s.pod.name=mine');
  assert.equal(own['service.name'], 'cart');
  assert.equal(own['k8s.pod.name'], 'mine');
  assert.equal(own['k8s.namespace.name'], 'b');
});

test('a resource becomes another one when more is known', () => {
  const workloads = new FakeWorkloads();
  const known = resources([], { workloads });
  const before = known.of(7);
  assert.equal(known.of(7), before);
  assert.equal(before.attributes['service.name'], 'unknown_service:shop');
  workloads.said = { 'service.name': 'checkout' };
  for (const listener of workloads.listeners) listener(new Set(['another']));
  assert.equal(known.of(7), before);
  for (const listener of workloads.listeners) listener(new Set([ID]));
  assert.equal(known.of(7).attributes['service.name'], 'checkout');
  // What has been sent stays as it was.
  assert.equal(before.attributes['service.name'], 'unknown_service:shop');
  known.close();
  assert.equal(workloads.listeners.size, 0);
});
