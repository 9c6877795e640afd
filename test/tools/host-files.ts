/** A host's files as container engines write them, beneath a folder. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

export class HostFiles {
  constructor(readonly root: string) {}

  write(path: string, content: unknown): string {
    const file = join(this.root, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content));
    return file;
  }

  containerd(id: string, annotations: unknown, state = '/run/containerd', namespace = 'k8s.io') {
    const path = `${state}/io.containerd.runtime.v2.task/${namespace}/${id}/config.json`;
    return this.write(path, {
      ociVersion: '1.1.0',
      process: { args: ['/srv/shop'], env: ['PASSWORD=secret'] },
      annotations,
      linux: { cgroupsPath: `kubepods-burstable-pod.slice:cri-containerd:${id}` },
    });
  }

  crio(id: string, annotations: unknown): string {
    const path = `/run/containers/storage/overlay-containers/${id}/userdata/config.json`;
    return this.write(path, { ociVersion: '1.1.0', annotations });
  }

  docker(id: string, record: unknown): string {
    return this.write(`/var/lib/docker/containers/${id}/config.v2.json`, record);
  }
}

/** A proc with these processes' control groups. */
export function procOf(root: string, cgroups: Record<number, string>): string {
  for (const [pid, text] of Object.entries(cgroups)) {
    mkdirSync(join(root, pid), { recursive: true });
    writeFileSync(join(root, pid, 'cgroup'), text);
  }
  return root;
}

/** What containerd's CRI plugin writes for a container of a pod. */
export const criAnnotations = (of: {
  pod: string;
  namespace?: string;
  uid: string;
  container?: string;
  image?: string;
}): Record<string, string> => ({
  'io.kubernetes.cri.container-type': 'container',
  'io.kubernetes.cri.sandbox-id': 'f'.repeat(64),
  'io.kubernetes.cri.sandbox-name': of.pod,
  'io.kubernetes.cri.sandbox-namespace': of.namespace ?? 'shop',
  'io.kubernetes.cri.sandbox-uid': of.uid,
  'io.kubernetes.cri.container-name': of.container ?? 'checkout',
  'io.kubernetes.cri.image-name': of.image ?? 'registry.example:5000/shop/checkout:1.2',
});
