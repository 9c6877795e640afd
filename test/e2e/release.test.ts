/** What `npm run release` makes runs where there is nothing but a kernel and a shell. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import {
  copyFile,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { tmpdir } from 'node:os';
import { freePort } from '../tools/collector.js';
import { debianPackage } from '../tools/debian.js';
import { buildTarget, projectRoot } from '../tools/go.js';
import { runLoad } from '../tools/load.js';
import { OpenMetricsText } from '../tools/openmetrics.js';
import { RunningProcess } from '../tools/process.js';
import { Receiver } from '../tools/receiver.js';
import { missingBpf } from '../tools/require.js';
import { Shop } from '../tools/shop.js';
import type { JsonSpan } from '../tools/tracer.js';

const run = promisify(execFile);

/** The words before a command that give it a root directory of its own, with the host's kernel. */
function within(root: string): string[] {
  const script = [
    'mount --rbind /proc "$0/proc"',
    'mount --bind /sys "$0/sys"',
    'mount --bind /dev/null "$0/dev/null"',
    'exec chroot "$0" "$@"',
  ].join(' && ');
  return ['--mount', '--propagation', 'private', 'sh', '-c', script, root];
}

const spansIn = (output: string, name: string): JsonSpan[] =>
  output
    .split('\n')
    .filter((line) => line.startsWith('{"type":"span"'))
    .map((line) => JSON.parse(line) as JsonSpan)
    .filter((span) => span.name === name);

describe('release', { skip: missingBpf() }, () => {
  let folder: string;
  let root: string;
  let archive: string;
  let debian: string;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'underspan-release-'));
    const out = join(folder, 'out');
    await run(join(projectRoot, 'deploy/build'), ['--quick', '--out', out]);
    const made = await readdir(out);
    const find = (end: string): string => join(out, made.find((name) => name.endsWith(end)) ?? end);
    [archive, debian] = [find('.tar.gz'), find('.deb')];
    root = join(folder, 'root');
    await makeBareRoot(root);
    await run('tar', ['-xzf', archive, '-C', join(root, 'opt')]);
    const [name = ''] = await readdir(join(root, 'opt'));
    // By a link, as one puts it into PATH.
    await symlink(`/opt/${name}/bin/trace`, join(root, 'bin/trace'));
  });
  after(() => rm(folder, { recursive: true, force: true }));

  /** No C library, no Node, no compiler: a static shell with a few commands, and /dev/null. */
  async function makeBareRoot(path: string): Promise<void> {
    for (const name of ['bin', 'dev', 'proc', 'sys', 'opt', 'tmp'])
      await mkdir(join(path, name), { recursive: true });
    await writeFile(join(path, 'dev/null'), '');
    const busybox = join(await debianPackage('bookworm', 'busybox-static'), 'bin/busybox');
    await copyFile(busybox, join(path, 'bin/busybox'));
    for (const name of ['sh', 'readlink']) await symlink('busybox', join(path, 'bin', name));
  }

  test('the archive says what this host allows', async () => {
    const { stdout } = await run('unshare', [...within(root), '/bin/trace', 'doctor']);
    assert.match(stdout, /Functions can be traced here/);
  });

  test('the archive traces a service of the host', async () => {
    const shop = await Shop.start();
    try {
      const args = ['attach', '--pid', String(shop.pid), '-o', 'json', 'main.*'];
      const tracer = await RunningProcess.start('unshare', [
        ...within(root),
        '/bin/trace',
        ...args,
      ]);
      await tracer.until('attached', () => (/attached to/.test(tracer.output) ? true : null));
      const earlier = await shop.counters();
      await runLoad({ urls: [`${shop.url}/order`], requests: 20, concurrency: 2 });
      const later = await shop.counters();
      await tracer.stop('SIGINT');
      const name = 'main.(*Shop).PlaceOrder';
      const placed = (later.calls[name] ?? 0) - (earlier.calls[name] ?? 0);
      assert.ok(placed > 0);
      const spans = spansIn(tracer.output, name);
      assert.equal(spans.length, placed, tracer.output.slice(0, 2_000));
      for (const { parentSpanId, resource } of spans) {
        assert.notEqual(parentSpanId, null);
        assert.equal(resource['service.name'], 'shop');
      }
    } finally {
      await shop.stop();
    }
  });

  test('the archive is an agent of the host, with the configuration that comes with it', async () => {
    // Other tests run the service of the example too.
    const serviceName = `checkout-${process.pid}`;
    const shop = await Shop.start({ serviceName });
    const receiver = await Receiver.start();
    try {
      const port = await freePort();
      const given = await readFile(join(projectRoot, 'deploy/agent.yaml'), 'utf8');
      const config = given
        .replace('service: checkout', `service: ${serviceName}`)
        .replace('http://127.0.0.1:4317', receiver.endpoint)
        .replace('127.0.0.1:9464', `127.0.0.1:${port}`);
      await writeFile(join(root, 'tmp/agent.yaml'), config);
      const command = ['/bin/trace', 'agent', '--config', '/tmp/agent.yaml'];
      const agent = await RunningProcess.start('unshare', [...within(root), ...command]);
      try {
        await agent.until('attached', () => (/attached to/.test(agent.output) ? true : null));
        const earlier = await shop.counters();
        await runLoad({ urls: [`${shop.url}/order`], requests: 20, concurrency: 2 });
        const later = await shop.counters();
        const response = await fetch(`http://127.0.0.1:${port}/metrics`);
        const metrics = new OpenMetricsText(await response.text());
        const name = 'main.(*Shop).PlaceOrder';
        const placed = (later.calls[name] ?? 0) - (earlier.calls[name] ?? 0);
        assert.ok(placed > 0);
        assert.equal(
          metrics.value('underspan_function_calls_total', { function: name, rule: 'example' }),
          placed,
        );
        await agent.stop('SIGTERM');
        assert.equal(agent.child.exitCode, 0, agent.output);
        const spans = receiver.spans.filter((span) => span.name === name);
        assert.ok(spans.length > 0, agent.output);
        for (const { resource } of spans) assert.equal(resource['service.name'], serviceName);
      } finally {
        await agent.stop('SIGKILL');
      }
    } finally {
      receiver.stop();
      await shop.stop();
    }
  });

  test('the archive holds processes by the shell that there is', async () => {
    const program = join(root, 'opt/held');
    const tiny = await buildTarget('tiny', { env: { CGO_ENABLED: '0' } });
    await copyFile(tiny, program);
    await copyFile(tiny, `${program}-unseen`);
    const config = {
      rules: [
        {
          name: 'held',
          select: { executable: `${program}*` },
          trace: { symbols: ['main.work'], roots: true, maxRate: 0 },
          hold: true,
        },
      ],
      export: { otlp: false },
      metrics: { listen: `127.0.0.1:${await freePort()}` },
      control: { socket: '/opt/agent.sock' },
    };
    await writeFile(join(root, 'opt/agent.yaml'), JSON.stringify(config));
    const command = ['/bin/trace', 'agent', '--config', '/opt/agent.yaml'];
    const agent = await RunningProcess.start('unshare', [...within(root), ...command]);
    try {
      await agent.until('up', () => (/the agent is up/.test(agent.output) ? true : null));
      const truth = join(folder, 'held.json');
      const ran = await RunningProcess.start(program, [truth, '5', '20ms']);
      assert.equal(await ran.ended(), 0, ran.output);
      const { calls } = JSON.parse(await readFile(truth, 'utf8')) as {
        calls: Record<string, number>;
      };
      await agent.until('counted', async () => {
        const response = await fetch(`http://${config.metrics.listen}/metrics`);
        const metrics = new OpenMetricsText(await response.text());
        const counted = metrics
          .samples('underspan_function_calls_total')
          .reduce((sum, { value }) => sum + value, 0);
        return counted === calls['main.work'] ? true : null;
      });
      // The kernel still holds for a moment, and the shell alone lets go on.
      agent.child.kill('SIGKILL');
      await agent.ended();
      const next = await RunningProcess.start(`${program}-unseen`, [truth, '5']);
      assert.equal(await next.ended(), 0, next.output);
    } finally {
      await agent.stop('SIGKILL');
    }
  });

  test('a command that it starts finds nothing of it in its environment', async () => {
    await copyFile(
      await buildTarget('tiny', { env: { CGO_ENABLED: '0' } }),
      join(root, 'bin/tiny'),
    );
    const attach = (pattern: string): string[] => [
      '/bin/trace',
      'attach',
      '-o',
      'json',
      pattern,
      '--',
    ];
    const { stdout } = await run('unshare', [
      ...within(root),
      ...[...attach('main.work'), '/bin/tiny', '/tmp/known', '10'],
    ]);
    const known = await readFile(join(root, 'tmp/known'), 'utf8');
    const { calls } = JSON.parse(known) as { calls: Record<string, number> };
    assert.equal(spansIn(stdout, 'main.work').length, calls['main.work']);
    // It goes on for long, and is looked at meanwhile.
    const args = [...attach('main.grow'), '/bin/tiny', '/tmp/known', '1000000000'];
    const tracer = await RunningProcess.start('unshare', [...within(root), ...args]);
    await tracer.until('attached', () => (/attached to/.test(tracer.output) ? true : null));
    const children = `/proc/${tracer.pid}/task/${tracer.pid}/children`;
    const child = (await readFile(children, 'utf8')).trim();
    const variables = await readFile(`/proc/${child}/environ`, 'utf8');
    await tracer.stop('SIGINT');
    assert.match(variables, /PATH=/);
    assert.doesNotMatch(variables, /\0LD_|underspan-/);
  });

  test('the Debian package has all that an installation needs', async () => {
    const unpacked = join(folder, 'debian');
    await run('dpkg-deb', ['-R', debian, unpacked]);
    const control = await readFile(join(unpacked, 'DEBIAN/control'), 'utf8');
    const manifest = await readFile(join(projectRoot, 'package.json'), 'utf8');
    const { version } = JSON.parse(manifest) as { version: string };
    assert.match(control, new RegExp(`^Version: ${version}$`, 'm'));
    assert.doesNotMatch(control, /^(Depends|Pre-Depends):|@[A-Z]+@/m);
    for (const path of (await readFile(join(unpacked, 'DEBIAN/conffiles'), 'utf8'))
      .trim()
      .split('\n'))
      await readFile(join(unpacked, path));
    const unit = await readFile(
      join(unpacked, 'usr/lib/systemd/system/underspan-agent.service'),
      'utf8',
    );
    const [command = '', , , config = ''] = (/^ExecStart=(.*)$/m.exec(unit)?.[1] ?? '').split(' ');
    await readFile(join(unpacked, config));
    await makeBareRoot(unpacked);
    const { stdout } = await run('unshare', [...within(unpacked), command, '--version']);
    assert.equal(stdout.trim(), version);
  });
});
