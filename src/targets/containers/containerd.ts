/** Bundles of containerd: https://github.com/containerd/containerd, internal/cri/annotations. */
import { listWithin, readWithin } from './confined.js';
import { MOST_BYTES, podOf, type Found } from './found.js';
import { imageName } from './image.js';
import { asObject, asText, parseObject } from '../json.js';

/** Its state directory: by default, of K3s and RKE2, k0s, MicroK8s, and of Docker where it runs its own. */
const STATES = [
  '/run/containerd',
  '/run/k3s/containerd',
  '/run/k0s/containerd',
  '/var/snap/microk8s/common/run/containerd',
  '/run/docker/containerd/daemon',
];
/** Of containerd, not of Kubernetes: "k8s.io", "moby", "default". */
const NAMESPACE = /^[A-Za-z0-9][\w.-]{0,75}$/;
const MOST_NAMESPACES = 64;

const PREFIX = 'io.kubernetes.cri';
const POD = {
  name: `${PREFIX}.sandbox-name`,
  namespace: `${PREFIX}.sandbox-namespace`,
  uid: `${PREFIX}.sandbox-uid`,
};

export function findContainerd(root: string, id: string): Found | null {
  for (const state of STATES) {
    const tasks = `${state}/io.containerd.runtime.v2.task`;
    const namespaces = listWithin(root, tasks, MOST_NAMESPACES).filter((name) =>
      NAMESPACE.test(name),
    );
    for (const namespace of namespaces) {
      const text = readWithin(root, `${tasks}/${namespace}/${id}/config.json`, MOST_BYTES);
      const bundle = parseObject(text);
      if (bundle) return read(id, namespace, bundle);
    }
  }
  return null;
}

function read(id: string, namespace: string, bundle: Record<string, unknown>): Found {
  const annotations = asObject(bundle['annotations']) ?? {};
  const sandbox = annotations[`${PREFIX}.container-type`] === 'sandbox';
  const image = annotations[`${PREFIX}.${sandbox ? 'podsandbox.image-name' : 'image-name'}`];
  return {
    container: {
      id,
      runtime: namespace === 'moby' ? 'docker' : 'containerd',
      image: imageName(asText(image)),
      name: asText(annotations[`${PREFIX}.container-name`]),
    },
    pod: podOf(annotations, POD),
  };
}
