/** Docker's own record of a container: https://github.com/moby/moby, daemon/container. */
import { readWithin } from './confined.js';
import { MOST_BYTES, podOf, type Found } from './found.js';
import { imageName } from './image.js';
import { asObject, asText, parseObject } from '../json.js';

/** As the kubelet asks for them through cri-dockerd. */
const POD = {
  name: 'io.kubernetes.pod.name',
  namespace: 'io.kubernetes.pod.namespace',
  uid: 'io.kubernetes.pod.uid',
};

export function findDocker(root: string, id: string): Found | null {
  const path = `/var/lib/docker/containers/${id}/config.v2.json`;
  const record = parseObject(readWithin(root, path, MOST_BYTES));
  if (!record) return null;
  const config = asObject(record['Config']) ?? {};
  const labels = asObject(config['Labels']) ?? {};
  const pod = podOf(labels, POD);
  const inPod = asText(labels['io.kubernetes.container.name']);
  return {
    container: {
      id,
      runtime: 'docker',
      image: imageName(asText(config['Image'])),
      // "POD" is what holds a pod's namespaces.
      name: pod
        ? inPod === 'POD'
          ? null
          : inPod
        : asText(record['Name'])?.replace(/^\//, '') || null,
    },
    pod,
  };
}
