import { asArray, asObject, asText, type JsonObject } from '../json.js';

/** A pod as the API has it, as far as it is needed. */
export interface Pod {
  name: string;
  namespace: string;
  uid: string;
  /** Of a static pod: the id that the kubelet and the control groups have for it. */
  staticUid: string | null;
  node: string | null;
  labels: Record<string, string>;
  /** Attributes that the pod's annotations ask for. */
  resource: Record<string, string>;
  controller: Controller | null;
  containers: PodContainer[];
}

export interface Controller {
  kind: string;
  name: string;
}

export interface PodContainer {
  /** null: not created yet. */
  id: string | null;
  name: string;
  image: string | null;
}

const MOST_ENTRIES = 256;
const MOST_CONTAINERS = 256;
const CONTAINER_ID = /^[\w.-]{1,64}:\/\/([0-9a-f]{64})$/;
/** https://opentelemetry.io/docs/specs/semconv/non-normative/k8s-attributes */
const RESOURCE_PREFIX = 'resource.opentelemetry.io/';

/** Null for what is no pod, and for one whose containers have all ended. */
export function parsePod(value: unknown): Pod | null {
  const pod = asObject(value);
  const metadata = asObject(pod?.['metadata']);
  const name = asText(metadata?.['name']);
  const namespace = asText(metadata?.['namespace']);
  const uid = asText(metadata?.['uid']);
  if (!pod || !metadata || name === null || namespace === null || uid === null) return null;
  const spec = asObject(pod['spec']) ?? {};
  const status = asObject(pod['status']) ?? {};
  if (status['phase'] === 'Succeeded' || status['phase'] === 'Failed') return null;
  const annotations = texts(metadata['annotations']);
  return {
    name,
    namespace,
    uid,
    staticUid: annotations.get('kubernetes.io/config.mirror') ?? null,
    node: asText(spec['nodeName']),
    labels: Object.fromEntries(texts(metadata['labels'])),
    resource: resourceOf(annotations),
    controller: controllerOf(metadata),
    containers: containersOf(spec, status),
  };
}

function texts(value: unknown): Map<string, string> {
  const entries = Object.entries(asObject(value) ?? {}).slice(0, MOST_ENTRIES);
  return new Map(
    entries.filter((entry): entry is [string, string] => entry[1] === '' || !!asText(entry[1])),
  );
}

function resourceOf(annotations: ReadonlyMap<string, string>): Record<string, string> {
  const asked = [...annotations]
    .filter(([name, value]) => name.startsWith(RESOURCE_PREFIX) && value !== '')
    .map(([name, value]) => [name.slice(RESOURCE_PREFIX.length), value]);
  return Object.fromEntries(asked) as Record<string, string>;
}

/** What an object belongs to; it may have other owners, but one controller. */
export function controllerOf(metadata: JsonObject | null): Controller | null {
  for (const value of asArray(metadata?.['ownerReferences'])) {
    const owner = asObject(value);
    const kind = asText(owner?.['kind']);
    const name = asText(owner?.['name']);
    if (owner?.['controller'] === true && kind !== null && name !== null) return { kind, name };
  }
  return null;
}

function containersOf(spec: JsonObject, status: JsonObject): PodContainer[] {
  const containers = new Map<string, PodContainer>();
  for (const kind of ['containers', 'initContainers', 'ephemeralContainers']) {
    for (const value of asArray(spec[kind]).slice(0, MOST_CONTAINERS)) {
      const name = asText(asObject(value)?.['name']);
      const image = asText(asObject(value)?.['image']);
      if (name !== null) containers.set(name, { id: null, name, image });
    }
  }
  for (const kind of ['containerStatuses', 'initContainerStatuses', 'ephemeralContainerStatuses']) {
    for (const value of asArray(status[kind]).slice(0, MOST_CONTAINERS)) {
      const each = asObject(value);
      const container = containers.get(asText(each?.['name']) ?? '');
      if (container) {
        container.id = CONTAINER_ID.exec(asText(each?.['containerID']) ?? '')?.[1] ?? null;
      }
    }
  }
  return [...containers.values()];
}
