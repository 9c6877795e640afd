import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { memoryGroups, memoryShortage } from '../../src/targets/cgroup-memory.js';
import { Procfs } from '../../src/targets/procfs.js';

const directory = mkdtempSync(join(tmpdir(), 'underspan-memory-'));
after(() => rmSync(directory, { recursive: true }));

const MIB = 1 << 20;
let hosts = 0;

class Host {
  readonly root = join(directory, String(hosts++));
  readonly procfs = new Procfs(join(this.root, 'proc'));

  constructor(mountinfo: string, cgroup: string) {
    this.write('proc/self/mountinfo', mountinfo);
    this.write('proc/7/cgroup', cgroup);
  }

  write(path: string, content: string | number): this {
    mkdirSync(dirname(join(this.root, path)), { recursive: true });
    writeFileSync(join(this.root, path), `${content}\n`);
    return this;
  }

  /** By path beneath where control groups are mounted. */
  rooms(): [string, number][] {
    const base = join(this.root, 'sys/fs/cgroup');
    return memoryGroups(7, this.procfs, this.root).map(({ path, room }) => [
      path.slice(base.length),
      room,
    ]);
  }
}

const V2 = '29 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw';

function unified(): Host {
  const host = new Host(V2, '0::/pods/pod1/shop\n');
  for (const [group, max, high, current] of [
    ['pods', 'max', 'max', 900 * MIB],
    ['pods/pod1', 200 * MIB, 'max', 150 * MIB],
    ['pods/pod1/shop', 128 * MIB, 100 * MIB, 90 * MIB],
  ] as const) {
    host
      .write(`sys/fs/cgroup/${group}/memory.max`, max)
      .write(`sys/fs/cgroup/${group}/memory.high`, high)
      .write(`sys/fs/cgroup/${group}/memory.current`, current);
  }
  return host;
}

test('version 2: each group above that has a limit, by the lower of its two', () => {
  assert.deepEqual(unified().rooms(), [
    ['/pods/pod1/shop', 10 * MIB],
    ['/pods/pod1', 50 * MIB],
  ]);
});

test('files that the kernel can let go of are no use of memory', () => {
  const host = unified();
  host.write('sys/fs/cgroup/pods/pod1/memory.stat', `anon 1\ninactive_file ${40 * MIB}\nfile 2`);
  assert.deepEqual(host.rooms()[1], ['/pods/pod1', 90 * MIB]);
});

test('version 1, whose largest number is no limit', () => {
  const mounts = [
    '30 25 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu',
    '33 25 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory',
    '39 25 0:36 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw',
  ].join('\n');
  const host = new Host(mounts, '4:memory:/docker/shop\n1:cpu:/\n0::/\n')
    .write('sys/fs/cgroup/memory/docker/shop/memory.limit_in_bytes', 64 * MIB)
    .write('sys/fs/cgroup/memory/docker/shop/memory.usage_in_bytes', 62 * MIB)
    .write('sys/fs/cgroup/memory/docker/shop/memory.stat', `total_inactive_file ${MIB}`)
    .write('sys/fs/cgroup/memory/memory.limit_in_bytes', '9223372036854771712')
    .write('sys/fs/cgroup/memory/memory.usage_in_bytes', 500 * MIB);
  assert.deepEqual(host.rooms(), [['/memory/docker/shop', 3 * MIB]]);
});

test('what is mounted may begin within the hierarchy', () => {
  const host = unified();
  const mounted = '29 23 0:26 /pods/pod1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw';
  host
    .write('proc/self/mountinfo', mounted)
    .write('sys/fs/cgroup/shop/memory.max', 5 * MIB)
    .write('sys/fs/cgroup/shop/memory.current', MIB);
  assert.deepEqual(host.rooms(), [['/shop', 4 * MIB]]);
});

test('what cannot be seen from here limits nothing', () => {
  assert.deepEqual(new Host(V2, '0::/../other\n').rooms(), []);
  assert.deepEqual(new Host(V2, '0::/gone\n').rooms(), []);
  assert.deepEqual(new Host('', '0::/pods\n').rooms(), []);
  const host = unified();
  assert.deepEqual(memoryGroups(8, host.procfs, host.root), []);
});

test('processes of one group share its room', () => {
  const groups = [
    { path: '/a', room: 3 * MIB },
    { path: '/', room: 100 * MIB },
  ];
  const need = (pid: number) => ({ pid, bytes: 2 * MIB });
  assert.equal(
    memoryShortage([need(1)], () => groups),
    null,
  );
  const refused = memoryShortage([need(1), need(2)], () => groups);
  assert.equal(refused?.code, 'NO_MEMORY_FOR_PROBES');
  assert.match(refused?.message ?? '', /4,096 KiB .* 2 processes.* \/a has room for 3,072 KiB/);
  assert.equal(
    memoryShortage([need(1)], () => []),
    null,
  );
});
