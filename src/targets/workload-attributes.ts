/** Attributes of the resource by which OpenTelemetry knows a workload. */
import type { ResourceValue } from '../spans/span.js';
import { splitImage } from './containers/image.js';
import type { DetailedWorkload } from './node-workloads.js';
import type { PodFacts } from './workload.js';

const OWNERS: Record<string, string> = {
  Deployment: 'k8s.deployment.name',
  ReplicaSet: 'k8s.replicaset.name',
  StatefulSet: 'k8s.statefulset.name',
  DaemonSet: 'k8s.daemonset.name',
  CronJob: 'k8s.cronjob.name',
  Job: 'k8s.job.name',
};

/**
 * Of which the first that is there names the service:
 * https://opentelemetry.io/docs/specs/semconv/non-normative/k8s-attributes. The labels that may
 * come before are for whoever opts in. A pod of nothing has its own name.
 */
const SERVICE_NAMES = [...Object.values(OWNERS), 'k8s.pod.name'];

export function workloadAttributes(workload: DetailedWorkload): Record<string, ResourceValue> {
  const { container, pod, podUid, podContainer, resource } = workload;
  if (!container) return {};
  const image = container.image === null ? null : splitImage(container.image);
  const attributes = present({
    'container.id': container.id,
    'container.name': container.name,
    'container.image.name': image?.name,
    'container.image.tags': image?.tag == null ? null : [image.tag],
    'k8s.pod.uid': podUid,
    ...(pod && podAttributes(pod)),
    'k8s.container.name': pod && podContainer,
  });
  // Until it is known what the pod belongs to, a name would soon be another one.
  const service = pod?.owners ? SERVICE_NAMES.find((name) => name in attributes) : undefined;
  return {
    ...attributes,
    ...present({ 'service.name': service && attributes[service] }),
    ...resource,
  };
}

function podAttributes(pod: PodFacts): Record<string, string | null> {
  const attributes: Record<string, string | null> = {
    'k8s.namespace.name': pod.namespace,
    'k8s.pod.name': pod.name,
    'k8s.node.name': pod.node,
  };
  for (const { kind, name } of pod.owners ?? []) {
    const attribute = OWNERS[kind];
    if (attribute !== undefined) attributes[attribute] = name;
  }
  return attributes;
}

function present(
  values: Record<string, ResourceValue | null | undefined>,
): Record<string, ResourceValue> {
  const attributes: Record<string, ResourceValue> = {};
  for (const [name, value] of Object.entries(values)) if (value != null) attributes[name] = value;
  return attributes;
}
