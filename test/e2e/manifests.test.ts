/** What deploy/ gives to a cluster, checked without one. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { describe, test } from 'node:test';
import { promisify } from 'node:util';
import { parse } from 'yaml';
import { AGENT_CAPABILITIES } from '../tools/capabilities.js';
import { debianPackage } from '../tools/debian.js';
import { exampleQueries } from '../tools/example-queries.js';
import { inFolder } from '../tools/folder.js';
import { projectRoot } from '../tools/go.js';
import { kustomize, readManifests, Schemas, type Manifest } from '../tools/kubernetes.js';

const run = promisify(execFile);
const deploy = join(projectRoot, 'deploy');
const kubernetes = join(deploy, 'kubernetes');
const schemas = new Schemas();

async function assertValid(manifests: readonly Manifest[]): Promise<void> {
  assert.ok(manifests.length > 0);
  const problems = await Promise.all(manifests.map((manifest) => schemas.problems(manifest)));
  assert.deepEqual(problems.flat(), []);
}

interface Container {
  image: string;
  args: string[];
  ports: { name: string; containerPort: number }[];
  volumeMounts: { name: string; mountPath: string }[];
  securityContext: {
    privileged: boolean;
    readOnlyRootFilesystem: boolean;
    capabilities?: { add: string[]; drop: string[] };
  };
  startupProbe: Probe;
  livenessProbe: Probe;
  readinessProbe: Probe;
}

interface Probe {
  httpGet: { path: string; port: string };
}

interface DaemonSet extends Manifest {
  spec: {
    selector: { matchLabels: Record<string, string> };
    template: {
      metadata: { labels: Record<string, string> };
      spec: {
        hostPID: boolean;
        serviceAccountName: string;
        priorityClassName: string;
        containers: [Container];
        volumes: { name: string; configMap?: { name: string } }[];
      };
    };
  };
}

function find(manifests: readonly Manifest[], kind: string, name = 'underspan-agent'): Manifest {
  const found = manifests.find((each) => each.kind === kind && each.metadata.name === name);
  assert.ok(found, `no ${kind} ${name}`);
  return found;
}

const daemonSet = (manifests: readonly Manifest[]): DaemonSet =>
  find(manifests, 'DaemonSet') as DaemonSet;

/** Group, resource and verb of everything that the agent may do. */
function rights(manifests: readonly Manifest[]): string[] {
  const rules = manifests
    .filter(
      ({ kind, metadata }) => kind === 'ClusterRole' && /^underspan-agent/.test(metadata.name),
    )
    .flatMap(({ rules }) => rules as Record<'apiGroups' | 'resources' | 'verbs', string[]>[]);
  return rules
    .flatMap(({ apiGroups, resources, verbs }) =>
      apiGroups.flatMap((group) =>
        resources.flatMap((resource) => verbs.map((verb) => `${verb} ${resource} ${group}`.trim())),
      ),
    )
    .sort();
}

/** The base with components, as a user's own overlay has it. */
async function withComponents(base: string, components: readonly string[]): Promise<Manifest[]> {
  return inFolder(async (folder) => {
    // kustomize takes no absolute paths.
    const from = (path: string): string => relative(folder, join(kubernetes, path));
    await writeFile(
      join(folder, 'kustomization.yaml'),
      JSON.stringify({
        apiVersion: 'kustomize.config.k8s.io/v1beta1',
        kind: 'Kustomization',
        resources: [from(base)],
        components: components.map((name) => from(`components/${name}`)),
      }),
    );
    return kustomize(folder);
  });
}

describe('manifests', () => {
  for (const folder of ['base', 'overlays/least-privilege']) {
    test(`${folder} is what the API server takes`, async () => {
      await assertValid(await kustomize(join(kubernetes, folder)));
    });
  }

  test('every component fits both', async () => {
    const components = await readdir(join(kubernetes, 'components'));
    assert.ok(components.length > 0);
    for (const base of ['base', 'overlays/least-privilege']) {
      const manifests = await withComponents(base, components);
      await assertValid(manifests);
      const monitor = find(manifests, 'PodMonitor') as Manifest & {
        spec: { selector: { matchLabels: object }; podMetricsEndpoints: { port: string }[] };
      };
      const { template } = daemonSet(manifests).spec;
      for (const [label, value] of Object.entries(monitor.spec.selector.matchLabels))
        assert.equal(template.metadata.labels[label], value);
      const ports = template.spec.containers[0].ports.map(({ name }) => name);
      for (const { port } of monitor.spec.podMetricsEndpoints) assert.ok(ports.includes(port));
    }
  });

  test('what does not fit a schema is found', async () => {
    const manifest = daemonSet(await kustomize(join(kubernetes, 'base')));
    const broken = (change: (spec: DaemonSet['spec']['template']['spec']) => unknown): Manifest => {
      const copy = structuredClone(manifest);
      change(copy.spec.template.spec);
      return copy;
    };
    const cases: [RegExp, Manifest][] = [
      [/hostPid/, broken((spec) => Object.assign(spec, { hostPid: true }))],
      [/hostPID.*boolean/, broken((spec) => Object.assign(spec, { hostPID: 'yes' }))],
      [/required.*"name"/, broken(({ volumes }) => delete (volumes[0] as { name?: string }).name)],
    ];
    for (const [expected, each] of cases)
      assert.match((await schemas.problems(each)).join('\n'), expected);
    const [scaled] = await readManifests(join(deploy, 'examples/keda-scaledobject.yaml'));
    assert.ok(scaled);
    Object.assign(scaled['spec'] as object, { maxReplicas: 3 });
    assert.match((await schemas.problems(scaled)).join('\n'), /maxReplicas/);
  });

  test('the parts name each other rightly', async () => {
    const manifests = await kustomize(join(kubernetes, 'base'));
    const { spec } = daemonSet(manifests);
    const pod = spec.template.spec;
    const [container] = pod.containers;
    for (const [label, value] of Object.entries(spec.selector.matchLabels))
      assert.equal(spec.template.metadata.labels[label], value);
    find(manifests, 'ServiceAccount', pod.serviceAccountName);
    find(manifests, 'PriorityClass', pod.priorityClassName);
    const volumes = pod.volumes.map(({ name }) => name).sort();
    assert.deepEqual(container.volumeMounts.map(({ name }) => name).sort(), volumes);
    const config = pod.volumes.find(({ configMap }) => configMap)?.configMap?.name ?? '';
    const { data } = find(manifests, 'ConfigMap', config) as Manifest & { data: object };
    const mounts = container.volumeMounts.map(({ mountPath }) => mountPath);
    const file = container.args[container.args.indexOf('--config') + 1] ?? '';
    assert.ok(Object.keys(data).some((name) => mounts.some((path) => `${path}/${name}` === file)));
    for (const [name, path] of [
      ['startupProbe', '/healthz'],
      ['livenessProbe', '/healthz'],
      ['readinessProbe', '/readyz'],
    ] as const) {
      const { httpGet } = container[name];
      assert.equal(httpGet.path, path);
      assert.ok(container.ports.some((port) => port.name === httpGet.port));
    }
    assert.equal(pod.hostPID, true);
    assert.equal(container.securityContext.privileged, true);
    assert.equal(container.securityContext.readOnlyRootFilesystem, true);
    const manifest = await readFile(join(projectRoot, 'package.json'), 'utf8');
    const { version } = JSON.parse(manifest) as { version: string };
    assert.equal(container.image, `underspan:${version}`);
  });

  test('the files that the agent writes are in volumes', async () => {
    const manifests = await kustomize(join(kubernetes, 'base'));
    const { data } = find(manifests, 'ConfigMap') as Manifest & { data: Record<string, string> };
    const config = parse(data['agent.yaml'] ?? '') as {
      control: { socket: string };
      export: { spool: { directory: string } };
      metrics: { listen: string };
    };
    const [container] = daemonSet(manifests).spec.template.spec.containers;
    const within = (path: string): boolean =>
      container.volumeMounts.some(({ mountPath }) => path.startsWith(`${mountPath}/`));
    assert.ok(within(config.control.socket));
    assert.ok(within(config.export.spool.directory));
    assert.equal(config.metrics.listen, `:${container.ports[0]?.containerPort}`);
  });

  test('the agent may read what it reads, and no more', async () => {
    const read = ['get jobs batch', 'get pods', 'get replicasets apps', 'list pods', 'watch pods'];
    assert.deepEqual(rights(await kustomize(join(kubernetes, 'base'))), read);
    assert.deepEqual(rights(await withComponents('base', ['kubelet'])), [
      'get jobs batch',
      'get nodes/pods',
      'get replicasets apps',
    ]);
    assert.deepEqual(
      rights(await withComponents('base', ['control-network'])),
      [
        ...read,
        'create subjectaccessreviews authorization.k8s.io',
        'create tokenreviews authentication.k8s.io',
      ].sort(),
    );
  });

  test('least-privilege has the capabilities that are proven, and no others', async () => {
    const manifests = await kustomize(join(kubernetes, 'overlays/least-privilege'));
    const { securityContext } = daemonSet(manifests).spec.template.spec.containers[0];
    assert.equal(securityContext.privileged, false);
    assert.deepEqual(securityContext.capabilities?.drop, ['ALL']);
    assert.deepEqual(securityContext.capabilities?.add.toSorted(), [...AGENT_CAPABILITIES]);
    const unit = await readFile(join(deploy, 'debian/underspan-agent.service'), 'utf8');
    const settings = ['AmbientCapabilities', 'CapabilityBoundingSet'];
    for (const name of settings) {
      const set = new RegExp(`^${name}=(.*)$`, 'm').exec(unit)?.[1]?.split(' ');
      assert.deepEqual(
        set?.toSorted(),
        AGENT_CAPABILITIES.map((capability) => `CAP_${capability}`),
      );
    }
  });

  for (const file of ['keda-scaledobject.yaml', 'argo-analysistemplate.yaml']) {
    test(`${file} is what its operator takes`, async () => {
      await assertValid(await readManifests(join(deploy, 'examples', file)));
    });
  }

  test('their queries are PromQL about what the agent serves', async () => {
    const queries = await exampleQueries();
    assert.equal(queries.length, 3);
    const labels = ['rule', 'executable', 'http_route', 'http_request_method'];
    const known = new Set([...labels, 'http_response_status_code', 'le']);
    for (const { name, query } of queries) {
      const metrics = query.match(/[a-z_]+(?=\{)/g) ?? [];
      assert.ok(metrics.length > 0, name);
      for (const metric of metrics)
        assert.match(metric, /^http_server_request_duration_seconds_(bucket|count|sum)$/);
      for (const [, selector = ''] of query.matchAll(/\{(.*?)\}/g))
        for (const [label] of selector.matchAll(/[a-z_]+(?==)/g))
          assert.ok(known.has(label), label);
    }
    // KEDA's schema lets any word pass here.
    const [scaled] = await readManifests(join(deploy, 'examples/keda-scaledobject.yaml'));
    const { triggers } = scaled?.['spec'] as { triggers: { metadata: object }[] };
    const words = ['serverAddress', 'query', 'threshold', 'ignoreNullValues'];
    for (const { metadata } of triggers)
      assert.deepEqual(
        Object.keys(metadata).filter((word) => !words.includes(word)),
        [],
      );
    const promtool = join(await debianPackage('bookworm', 'prometheus'), 'usr/bin/promtool');
    await inFolder(async (folder) => {
      const file = join(folder, 'rules.yaml');
      const rules = queries.map(({ query }, index) => ({
        record: `example:${index}`,
        expr: query,
      }));
      await writeFile(file, JSON.stringify({ groups: [{ name: 'examples', rules }] }));
      await run(promtool, ['check', 'rules', file]);
    });
    const page = await readFile(join(projectRoot, 'docs/autoscaling.md'), 'utf8');
    assert.ok(page.includes(queries[0]?.query ?? ''), 'the page shows another query');
  });
});
