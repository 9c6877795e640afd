/** Real processes in real control groups and namespaces, named as container engines name them. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { test, type TestContext } from 'node:test';
import { promisify } from 'node:util';
import { NodeWorkloads } from '../../src/targets/node-workloads.js';
import { Procfs } from '../../src/targets/procfs.js';
import { inFolder } from '../tools/folder.js';
import { criAnnotations, HostFiles } from '../tools/host-files.js';
import { RunningProcess, sleep } from '../tools/process.js';
import { requireRoot } from '../tools/require.js';

const run = promisify(execFile);
const UID = '6f9e0a1b-2c3d-4e5f-8071-92a3b4c5d6e7';
const SLICE = `kubepods-pod${UID.replaceAll('-', '_')}.slice`;
const IMAGE = 'registry.example:5000/shop/checkout:1.2';

/** Of both versions, where they are mounted; of version 1 one hierarchy stands for all. */
function hierarchies(): { version: string; path: string }[] {
  const mounts = readFileSync('/proc/mounts', 'utf8').split('\n');
  const found = mounts
    .map((line) => line.split(' '))
    .map(([, path = '', type, options = '']) => {
      if (type === 'cgroup2') return { version: 'v2', path };
      return type === 'cgroup' && /(^|,)pids(,|$)/.test(options) ? { version: 'v1', path } : null;
    });
  return found.filter((each) => each !== null);
}

/** So that two runs at once do not meet. */
const newId = (digit: string): string =>
  process.pid.toString(16).padStart(32, '0') + digit.repeat(32);

/** What is to be undone after a test, the last first: a process before its control group. */
function undoing(t: TestContext): Undo {
  const steps: (() => unknown)[] = [];
  t.after(async () => {
    for (const step of steps.reverse()) await step();
  });
  return (step) => steps.push(step);
}

type Undo = (step: () => unknown) => void;

/** Makes a control group, and removes it with those above it that are the test's. */
function makeGroup(undo: Undo, hierarchy: string, path: string): string {
  const made: string[] = [];
  let at = hierarchy;
  for (const name of path.split('/')) {
    at = join(at, name);
    if (mkdirSync(at, { recursive: true }) !== undefined) made.unshift(at);
  }
  undo(async () => {
    for (const each of made) await removeGroup(each);
  });
  return join(at, 'cgroup.procs');
}

/** Whoever was in it may not have been collected yet. */
async function removeGroup(path: string): Promise<void> {
  for (const deadline = Date.now() + 10_000; ; await sleep(10)) {
    try {
      return rmdirSync(path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EBUSY' || Date.now() > deadline) throw error;
    }
  }
}

/** A process in a control group; with `namespaces` the first of its own. */
async function runIn(undo: Undo, procs: string, namespaces: boolean): Promise<number> {
  const command = namespaces ? 'unshare -p -f -m -C --mount-proc sleep 600' : 'sleep 600';
  const running = await RunningProcess.start('sh', ['-c', `echo $$ > ${procs}; exec ${command}`]);
  undo(() => running.stop('SIGKILL'));
  const { pid } = running;
  // What unshare runs for comes after it; it ends with its first process.
  return running.until('running', () => {
    const found = namespaces ? childOf(pid) : pid;
    if (found === null || new Procfs().stat(found).comm !== 'sleep') return null;
    if (namespaces) undo(() => process.kill(found, 'SIGKILL'));
    return found;
  });
}

function childOf(pid: number): number | null {
  const child = Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim());
  return child || null;
}

const engines: {
  name: string;
  group: (id: string) => string;
  write: (host: HostFiles, id: string) => void;
  expected: { runtime: string; name: string; pod: string | null };
}[] = [
  {
    name: 'containerd',
    group: (id) => `kubepods.slice/${SLICE}/cri-containerd-${id}.scope`,
    write: (host, id) => host.containerd(id, criAnnotations({ pod: 'checkout-7d9', uid: UID })),
    expected: { runtime: 'containerd', name: 'checkout', pod: 'checkout-7d9' },
  },
  {
    name: 'CRI-O',
    group: (id) => `kubepods.slice/${SLICE}/crio-${id}.scope/container`,
    write: (host, id) =>
      host.crio(id, {
        'io.container.manager': 'cri-o',
        'io.kubernetes.cri-o.Image': IMAGE,
        'io.kubernetes.container.name': 'checkout',
        'io.kubernetes.pod.name': 'checkout-7d9',
        'io.kubernetes.pod.namespace': 'shop',
        'io.kubernetes.pod.uid': UID,
      }),
    expected: { runtime: 'cri-o', name: 'checkout', pod: 'checkout-7d9' },
  },
  {
    name: 'Docker',
    group: (id) => `docker/${id}`,
    write: (host, id) => host.docker(id, { Name: '/shop', Config: { Image: IMAGE } }),
    expected: { runtime: 'docker', name: 'shop', pod: null },
  },
];

for (const [digit, { name, group, write, expected }] of engines.entries()) {
  for (const namespaces of [false, true]) {
    const where = namespaces ? 'the first process of its namespaces' : 'a process of the host';
    test(`${name}: ${where}`, async (t) => {
      if (!requireRoot(t)) return;
      const all = hierarchies();
      assert.ok(all.length > 0);
      for (const { version, path } of all) {
        await t.test(version, (t) =>
          inFolder(async (folder) => {
            const id = newId(String(digit));
            const undo = undoing(t);
            const procs = makeGroup(undo, path, group(id));
            const pid = await runIn(undo, procs, namespaces);
            if (namespaces)
              assert.match(readFileSync(`/proc/${pid}/status`, 'utf8'), /NSpid:.*\t1$/m);
            assert.equal(new Procfs().container(pid), id);
            assert.equal(new Procfs().cgroup(pid).podUid, expected.pod === null ? null : UID);
            const host = new HostFiles(folder);
            const workloads = new NodeWorkloads({ root: host.root });
            write(host, id);
            const { container, pod } = workloads.of(pid);
            assert.deepEqual(container, {
              id,
              runtime: expected.runtime,
              image: IMAGE,
              name: expected.name,
            });
            assert.equal(pod?.name ?? null, expected.pod);
            assert.deepEqual(workloads.attributes(pid)['container.image.tags'], ['1.2']);
            // Of this process, which is in none of them, nothing is said.
            assert.equal(workloads.of(process.pid).pod, null);
            workloads.close();
          }),
        );
      }
    });
  }
}

test('seen out of the control group namespace of a neighbour', async (t) => {
  if (!requireRoot(t)) return;
  const module = pathToFileURL(join(import.meta.dirname, '../../src/targets/procfs.js')).href;
  for (const { version, path } of hierarchies()) {
    await t.test(version, async (t) => {
      const undo = undoing(t);
      const [id, own] = [newId('a'), newId('b')];
      const pid = await runIn(
        undo,
        makeGroup(undo, path, `kubepods.slice/${SLICE}/crio-${id}.scope`),
        true,
      );
      const agent = makeGroup(
        undo,
        path,
        `kubepods.slice/kubepods-podagent.slice/crio-${own}.scope`,
      );
      const look =
        `const { Procfs } = await import(${JSON.stringify(module)});` +
        `const text = (await import('node:fs')).readFileSync('/proc/${pid}/cgroup', 'utf8');` +
        `console.log(JSON.stringify([new Procfs().cgroup(${pid}), text]));`;
      const script = `echo $$ > ${agent}; exec unshare -C ${process.execPath} --input-type=module -e "$0"`;
      const { stdout } = await run('sh', ['-c', script, look]);
      const [place, text] = JSON.parse(stdout) as [unknown, string];
      // Else it would prove nothing.
      assert.match(text, new RegExp(`:/\\.\\./\\.\\./${SLICE}/`));
      assert.deepEqual(place, { containers: [id], podUid: UID, runtime: 'cri-o' });
    });
  }
});

test("the host's files are seen as its first process sees them", async (t) => {
  if (!requireRoot(t)) return;
  await inFolder(async (folder) => {
    const id = newId('c');
    new HostFiles(folder).docker(id, { Name: '/shop', Config: {} });
    const at = (module: string): string =>
      pathToFileURL(join(import.meta.dirname, `../../src/targets/containers/${module}.js`)).href;
    const look =
      `const { Containers, hostRoot } = await import(${JSON.stringify(at('containers'))});` +
      `console.log(hostRoot(), new Containers(hostRoot()).of('${id}', null).container.name);`;
    // The first process of a PID namespace has these files, and the agent below it others there,
    // as in a container.
    const script = join(folder, 'first');
    writeFileSync(
      script,
      [
        `mount --bind ${folder}/var/lib /var/lib`,
        `unshare -m sh -c 'mount -t tmpfs none /var/lib && exec "$0" --input-type=module -e "$1"' "$@"`,
        // Else the shell would become the last command.
        'exit $?',
      ].join('\n'),
    );
    const namespaces = ['-p', '-f', '-m', '--mount-proc'];
    const command = ['sh', '-e', script, process.execPath, look];
    const { stdout } = await run('unshare', [...namespaces, ...command]);
    assert.equal(stdout.trim(), '/proc/1/root shop');
  });
});
