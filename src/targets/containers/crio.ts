/** Bundles of CRI-O: https://github.com/cri-o/cri-o, internal/annotations. Podman's are alike. */
import { readWithin } from './confined.js';
import { MOST_BYTES, podOf, type Found } from './found.js';
import { imageName } from './image.js';
import { asObject, asText, parseObject } from '../json.js';

/** The kubelet's labels, which CRI-O writes among the annotations. */
const POD = {
  name: 'io.kubernetes.pod.name',
  namespace: 'io.kubernetes.pod.namespace',
  uid: 'io.kubernetes.pod.uid',
};

export function findCrio(root: string, id: string): Found | null {
  const path = `/run/containers/storage/overlay-containers/${id}/userdata/config.json`;
  const bundle = parseObject(readWithin(root, path, MOST_BYTES));
  const annotations = asObject(bundle?.['annotations']);
  if (!annotations) return null;
  const sandbox = annotations['io.kubernetes.cri-o.ContainerType'] === 'sandbox';
  const byLabel = asText(annotations['io.kubernetes.container.name']);
  const metadata = parseObject(asText(annotations['io.kubernetes.cri-o.Metadata']));
  return {
    container: {
      id,
      runtime: annotations['io.container.manager'] === 'cri-o' ? 'cri-o' : 'unknown',
      // The second is some name of the image, perhaps not the one that was asked for.
      image:
        imageName(asText(annotations['io.kubernetes.cri-o.Image'])) ??
        imageName(asText(annotations['io.kubernetes.cri-o.ImageName'])),
      name: sandbox ? null : (byLabel ?? asText(metadata?.['name'])),
    },
    pod: podOf(annotations, POD),
  };
}
