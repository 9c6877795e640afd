import assert from 'node:assert/strict';
import { test } from 'node:test';
import { placeOf, type CgroupPlace } from '../../src/targets/cgroup.js';

const A = '0123456789abcdef'.repeat(4);
const B = 'fedcba9876543210'.repeat(4);
const UID = '6f9e0a1b-2c3d-4e5f-8071-92a3b4c5d6e7';
const SLICED = UID.replaceAll('-', '_');
const STATIC = '0123456789abcdef0123456789abcdef';
const FARGATE = `${'ab'.repeat(16)}-1234567890`;

const nowhere: CgroupPlace = { containers: [], podUid: null, runtime: null };
const at = (
  containers: string[],
  podUid: string | null,
  runtime: CgroupPlace['runtime'],
): CgroupPlace => ({ containers, podUid, runtime });

const cases: [string, string, CgroupPlace][] = [
  ['docker, v2, systemd', `0::/system.slice/docker-${A}.scope`, at([A], null, 'docker')],
  ['docker, v2, cgroupfs', `0::/docker/${A}`, at([A], null, 'docker')],
  [
    'docker, v1',
    `12:memory:/docker/${A}\n4:cpu,cpuacct:/docker/${A}\n1:name=systemd:/docker/${A}\n0::/system.slice/containerd.service`,
    at([A], null, 'docker'),
  ],
  [
    'v1 where the first hierarchy says nothing',
    `13:rdma:/\n12:pids:/docker/${A}\n0::/`,
    at([A], null, 'docker'),
  ],
  [
    'docker, rootless',
    `0::/user.slice/user-1000.slice/user@1000.service/user.slice/docker-${A}.scope`,
    at([A], null, 'docker'),
  ],
  [
    'podman, rootless',
    `0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-${A}.scope/container`,
    at([A], null, null),
  ],
  ['podman, its monitor', `0::/machine.slice/libpod-conmon-${A}.scope`, nowhere],
  [
    'nerdctl, rootless',
    `0::/user.slice/user-1000.slice/user@1000.service/user.slice/nerdctl-${A}.scope`,
    at([A], null, 'containerd'),
  ],
  [
    'EKS, v2, systemd',
    `0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod${SLICED}.slice/cri-containerd-${A}.scope`,
    at([A], UID, 'containerd'),
  ],
  [
    'guaranteed pods have no class',
    `0::/kubepods.slice/kubepods-pod${SLICED}.slice/cri-containerd-${A}.scope`,
    at([A], UID, 'containerd'),
  ],
  [
    'GKE, v1, cgroupfs',
    `11:memory:/kubepods/burstable/pod${UID}/${A}\n1:name=systemd:/kubepods/burstable/pod${UID}/${A}`,
    at([A], UID, null),
  ],
  [
    'GKE, v2, cgroupfs, with an init group of its own',
    `0::/kubepods/besteffort/pod${UID}/${A}/init.scope`,
    at([A], UID, null),
  ],
  [
    'a static pod',
    `0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod${STATIC}.slice/cri-containerd-${A}.scope`,
    at([A], STATIC, 'containerd'),
  ],
  [
    'OpenShift, CRI-O',
    `0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod${SLICED}.slice/crio-${A}.scope`,
    at([A], UID, 'cri-o'),
  ],
  [
    'CRI-O, a group within the container',
    `0::/kubepods.slice/kubepods-pod${SLICED}.slice/crio-${A}.scope/container`,
    at([A], UID, 'cri-o'),
  ],
  [
    'CRI-O, its monitor',
    `0::/kubepods.slice/kubepods-pod${SLICED}.slice/crio-conmon-${A}.scope`,
    nowhere,
  ],
  [
    'containerd with the other driver than the kubelet',
    `0::/system.slice/containerd.service/kubepods-burstable-pod${SLICED}.slice:cri-containerd:${A}`,
    at([A], UID, 'containerd'),
  ],
  [
    'Docker below Kubernetes',
    `0::/kubepods.slice/kubepods-pod${SLICED}.slice/docker-${A}.scope`,
    at([A], UID, 'docker'),
  ],
  [
    'seen out of another namespace',
    `0::/../../kubepods-besteffort.slice/kubepods-besteffort-pod${SLICED}.slice/cri-containerd-${A}.scope`,
    at([A], UID, 'containerd'),
  ],
  [
    'a neighbour in the pod, seen out of a namespace',
    `0::/../cri-containerd-${A}.scope`,
    at([A], null, 'containerd'),
  ],
  ['cgroupfs, seen out of a namespace', `0::/../../pod${UID}/${A}`, at([A], UID, null)],
  [
    'kind in Docker',
    `0::/docker/${B}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod${SLICED}.slice/cri-containerd-${A}.scope`,
    at([B, A], UID, 'containerd'),
  ],
  [
    'Docker in a pod',
    `0::/kubepods/burstable/pod${UID}/${B}/docker/${A}`,
    at([B, A], UID, 'docker'),
  ],
  [
    'escaped by systemd',
    `0::/kubepods.slice/kubepods-pod${UID.replaceAll('-', '\\x2d')}.slice/cri\\x2dcontainerd\\x2d${A}.scope`,
    at([A], UID, 'containerd'),
  ],
  ['ECS', `9:memory:/ecs/${'ab'.repeat(16)}/${A}`, at([A], null, null)],
  ['Fargate', `9:memory:/ecs/${'ab'.repeat(16)}/${FARGATE}`, at([FARGATE], null, null)],
  ['systemd-nspawn', '0::/machine.slice/systemd-nspawn@deb\\x2d12.service/payload', nowhere],
  ['systemd-nspawn, v1', '1:name=systemd:/machine.slice/machine-deb\\x2d12.scope', nowhere],
  ['LXC', '0::/lxc.payload.web/system.slice/nginx.service', nowhere],
  ['a virtual machine', '0::/machine.slice/machine-qemu\\x2d1\\x2dvm.scope/libvirt/vcpu0', nowhere],
  ['a session', '0::/user.slice/user-0.slice/session-1.scope', nowhere],
  ['a service of the host', '0::/system.slice/kubelet.service', nowhere],
  ['a shim, in the pod but in no container', `0::/kubepods/pod${UID}`, nowhere],
  ['the root', '0::/', nowhere],
  ['nothing', '', nowhere],
  ['an id that is too long', `0::/docker/${A}0`, nowhere],
  ['an id in capitals', `0::/docker/${A.toUpperCase()}`, nowhere],
  ['a pod that is none', `0::/podcast/pod-of-peas/${A}`, at([A], null, null)],
];

for (const [name, text, expected] of cases) {
  test(`control groups: ${name}`, () => assert.deepEqual(placeOf(text), expected));
}
