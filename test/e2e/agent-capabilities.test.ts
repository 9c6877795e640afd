/** The rights that an agent needs: with them it does all, without each it says what is missing. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, chown, copyFile, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test, type TestContext } from 'node:test';
import { promisify } from 'node:util';
import { AgentProcess, type LogLine, until } from '../tools/agent.js';
import { AGENT_CAPABILITIES, NOBODY, withRights } from '../tools/capabilities.js';
import { inFolder } from '../tools/folder.js';
import { buildTarget, projectRoot } from '../tools/go.js';
import { runLoad } from '../tools/load.js';
import { RunningProcess } from '../tools/process.js';
import { Receiver } from '../tools/receiver.js';
import { requireBpf, requireCommands } from '../tools/require.js';
import { Shop } from '../tools/shop.js';
import { trace, traceCommand } from '../tools/tracer.js';
import { plainName } from '../tools/truth.js';

const run = promisify(execFile);

const ALL = [...AGENT_CAPABILITIES, 'KILL'];
// Other tests run services as well.
const SERVICE = `of-root-${process.pid}`;
const ROUNDS = 5;

/** Whoever is the agent owns its directories. */
async function withFolder(
  run: (folder: string) => Promise<void>,
  uid: number = NOBODY,
): Promise<void> {
  await inFolder(async (folder) => {
    await chown(folder, uid, uid);
    await run(folder);
  });
}

async function withAgent(
  folder: string,
  config: object,
  under: string[],
  use: (agent: AgentProcess) => Promise<void>,
): Promise<void> {
  const agent = await AgentProcess.start(folder, { config, under });
  try {
    await use(agent);
    assert.equal((await agent.stop()).status, 0, agent.process.output);
  } finally {
    await agent.kill();
  }
}

const nobody = (capabilities: readonly string[]): string[] => withRights({ capabilities });

const without = (missing: string): string[] => ALL.filter((name) => name !== missing);

const programs = (executable: string, more: object = {}): object => ({
  rules: [
    {
      name: 'programs',
      select: { executable },
      trace: { symbols: ['main.work'], roots: true, maxRate: 0, fold: 0 },
      ...more,
    },
  ],
  export: { otlp: false },
});

const warnings = ({ log }: AgentProcess): LogLine[] => log.filter(({ level }) => level !== 'info');

/** Another user's copies of a program that ends by itself. */
async function copies(folder: string, names: readonly string[]): Promise<string[]> {
  const paths = names.map((name) => join(folder, name));
  for (const path of paths) {
    await copyFile(await buildTarget('tiny'), path);
    await chmod(path, 0o755);
  }
  return paths;
}

/** Runs it to its end; how often it called main.work, by its own count. */
async function work(path: string, rounds = ROUNDS): Promise<number> {
  return inFolder(async (folder) => {
    const truth = join(folder, 'truth.json');
    const ran = await RunningProcess.start(path, [truth, String(rounds), '20ms']);
    assert.equal(await ran.ended(), 0, ran.output);
    const { calls } = JSON.parse(await readFile(truth, 'utf8')) as {
      calls: Record<string, number>;
    };
    return calls['main.work'] ?? 0;
  });
}

describe('capabilities of an agent', () => {
  let shop: Shop;
  before(async () => {
    shop = await Shop.start({ serviceName: SERVICE });
  });
  after(() => shop.stop());

  /** It comes up, traces the shop with its resource, and counts as the shop does. */
  async function assertTraces(under: string[], uid: number = NOBODY): Promise<void> {
    const receiver = await Receiver.start();
    try {
      await withFolder(async (folder) => {
        const config = {
          rules: [
            {
              name: 'shop',
              select: { service: SERVICE },
              trace: { symbols: ['main.*'], maxRate: 0, fold: 0, maxOverhead: '100%' },
            },
          ],
          export: { otlp: { endpoint: receiver.endpoint } },
        };
        const name = 'main.(*Shop).PlaceOrder';
        const placed = async (): Promise<number> => (await shop.counters()).calls[name] ?? 0;
        const earlier = await placed();
        await withAgent(folder, config, under, async (agent) => {
          assert.equal((await agent.ready()).ready, true);
          await runLoad({ urls: [`${shop.url}/order`], requests: 20, concurrency: 2 });
          const calls = [...(await agent.calls())].find(([each]) => plainName(each) === name);
          assert.ok((await placed()) > earlier);
          assert.equal(calls?.[1], (await placed()) - earlier);
          assert.deepEqual(warnings(agent), []);
        });
        const spans = receiver.spans.filter((span) => span.name === name);
        assert.equal(spans.length, (await placed()) - earlier);
        for (const { resource } of spans) assert.equal(resource['service.name'], SERVICE);
      }, uid);
    } finally {
      receiver.stop();
    }
  }

  for (const uid of [NOBODY, 0]) {
    test(`user ${uid} traces with those that deploy/ grants`, async (t) => {
      if (!requireBpf(t)) return;
      await assertTraces(withRights({ capabilities: AGENT_CAPABILITIES, uid }), uid);
    });
  }

  for (const missing of ['BPF', 'PERFMON', 'SYS_PTRACE']) {
    test(`without CAP_${missing} it ends and names it`, async (t) => {
      if (!requireBpf(t)) return;
      await assertRefused(programs('/opt/*'), without(missing), `missing CAP_${missing}\\b`);
    });
  }

  test('without CAP_KILL it refuses to hold processes', async (t) => {
    if (!requireBpf(t)) return;
    const holding = programs('/opt/program-*', { hold: true });
    await assertRefused(holding, AGENT_CAPABILITIES, 'grant CAP_KILL');
  });

  async function assertRefused(
    config: object,
    capabilities: readonly string[],
    expected: string,
  ): Promise<void> {
    await withFolder(async (folder) => {
      const file = join(folder, 'agent.yaml');
      const control = { socket: join(folder, 'agent.sock') };
      await writeFile(file, JSON.stringify({ ...config, control }));
      const rights = { capabilities };
      const { status, stderr } = await trace(['agent', '--config', file], { rights });
      assert.equal(status, 3, stderr);
      assert.match(stderr, new RegExp(expected));
    });
  }

  test('with CAP_KILL it holds processes of others, and lets them go on', async (t) => {
    if (!requireBpf(t)) return;
    await withFolder(async (folder) => {
      const [path = ''] = await copies(folder, ['program']);
      await withAgent(folder, programs(path, { hold: true }), nobody(ALL), async (agent) => {
        const made = await work(path);
        await until('counted', async () =>
          (await agent.calls()).get('main.work') === made ? true : null,
        );
        assert.deepEqual(warnings(agent), []);
      });
    });
  });

  test('without CAP_DAC_READ_SEARCH it says what is closed to it', async (t) => {
    if (!requireBpf(t)) return;
    await withFolder(async (folder) => {
      const [open = '', closed = ''] = await copies(folder, ['program-open', 'program-closed']);
      await chmod(closed, 0o700);
      // Else it would be the folder that is closed.
      await chmod(folder, 0o755);
      const config = programs(join(folder, 'program-*'));
      await withAgent(folder, config, nobody(without('DAC_READ_SEARCH')), async (agent) => {
        const told = agent.log.find(({ code }) => code === 'OTHERS_NOT_PERMITTED');
        assert.match(String(told?.['hint']), /CAP_DAC_READ_SEARCH/);
        const running = await Promise.all(
          [open, closed].map((path) =>
            RunningProcess.start(path, [`${path}.json`, '1000', '20ms']),
          ),
        );
        try {
          await agent.hear(`1 function of ${open} `);
          const refused = await agent.hear(`${closed} cannot be opened`);
          assert.match(String(refused['hint']), /CAP_DAC_READ_SEARCH/);
          assert.equal((await agent.ready()).ready, false);
        } finally {
          for (const each of running) await each.stop('SIGKILL');
        }
      });
    });
  });

  test('without CAP_LEASE it says once that probes do not wait', async (t) => {
    if (!requireBpf(t)) return;
    await withFolder(async (folder) => {
      const paths = await copies(folder, ['program-a', 'program-b']);
      /** How often probes were taken back for want of processes, once both have run. */
      const idle = async (capabilities: readonly string[]): Promise<[number, LogLine[]]> => {
        let detached = 0;
        let told: LogLine[] = [];
        const config = programs(join(folder, 'program-*'));
        await withAgent(folder, config, nobody(capabilities), async (agent) => {
          for (const path of paths) {
            const ran = work(path, 20);
            await agent.hear(`1 function of ${path} `);
            await ran;
          }
          const gone = async (): Promise<number> =>
            (await agent.metrics()).value('underspan_probes_detached_total', { reason: 'idle' });
          if (!capabilities.includes('LEASE'))
            await until('detached', async () => ((await gone()) > 0 ? true : null));
          detached = await gone();
          told = warnings(agent);
        });
        return [detached, told];
      };
      const [, told] = await idle(without('LEASE'));
      assert.deepEqual(
        told.map(({ code }) => code),
        ['LEASE_NOT_PERMITTED'],
      );
      assert.match(String(told[0]?.['hint']), /CAP_LEASE/);
      assert.deepEqual(await idle(AGENT_CAPABILITIES), [0, []]);
    });
  });

  test('without a shell it refuses to hold processes', async (t) => {
    if (!requireBpf(t)) return;
    await withFolder(async (folder) => {
      const file = join(folder, 'agent.yaml');
      await writeFile(file, JSON.stringify(programs('/opt/program-*', { hold: true })));
      const hide = 'mount --bind /dev/null /bin/sh && exec "$@"';
      const agent = [process.execPath, traceCommand, 'agent', '--config', file];
      const words = ['--mount', '--propagation', 'private', 'sh', '-c', hide, 'sh', ...agent];
      await assert.rejects(run('unshare', words, { timeout: 60_000 }), (error: unknown) => {
        const { code, stderr } = error as { code: unknown; stderr: string };
        assert.equal(code, 3, stderr);
        assert.match(stderr, /rule 'programs' holds processes, and there is no \/bin\/sh/);
        return true;
      });
    });
  });

  test('when the shell ends that would let processes go on, it says that it holds none', async (t) => {
    if (!requireBpf(t)) return;
    await withFolder(async (folder) => {
      const [path = ''] = await copies(folder, ['program']);
      await withAgent(folder, programs(path, { hold: true }), nobody(ALL), async (agent) => {
        const { pid } = agent;
        const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8');
        process.kill(Number(children), 'SIGKILL');
        await agent.hear('processes are no longer held');
        await work(path);
      });
    });
  });

  test('capsh gives what the unit of the Debian package grants, and that is enough', async (t) => {
    if (!requireBpf(t) || !requireCommands(t, ['capsh'])) return;
    const set = (await unitSettings()).get('AmbientCapabilities')?.toLowerCase() ?? '';
    const names = set.split(' ').join(',');
    const { stdout } = await run('capsh', ['--print']);
    const bounding = /^Bounding set =(.*)$/m.exec(stdout)?.[1]?.split(',') ?? [];
    const others = bounding.filter((name) => !set.split(' ').includes(name)).join(',');
    await assertTraces([
      ...['capsh', `--drop=${others}`, '--keep=1', '--user=nobody'],
      ...[`--inh=${names}`, `--addamb=${names}`, '--', '-c', 'exec "$@"', 'sh'],
    ]);
  });

  test('systemd gives what the unit grants, and doctor finds it enough', async (t: TestContext) => {
    if (!requireBpf(t)) return;
    if (!existsSync('/run/systemd/system'))
      return t.skip('this host is not run by systemd; capsh has tried the same capabilities');
    const own = /^(Exec|Environment|Restart|User|StateDirectory|RuntimeDirectory)/;
    const settings = [...(await unitSettings())].filter(([name]) => !own.test(name));
    const { stdout } = await run('systemd-run', [
      ...['--pipe', '--wait', '--collect', '--quiet'],
      ...settings.flatMap(([name, value]) => ['-p', `${name}=${value}`]),
      ...['--', process.execPath, traceCommand, 'doctor'],
    ]);
    assert.match(stdout, /Functions can be traced here/);
  });
});

/** What the unit says in [Service]. */
async function unitSettings(): Promise<Map<string, string>> {
  const unit = await readFile(join(projectRoot, 'deploy/debian/underspan-agent.service'), 'utf8');
  const service = /^\[Service\]$([^[]*)/m.exec(unit)?.[1] ?? '';
  const lines = [...service.matchAll(/^(\w+)=(.*)$/gm)];
  return new Map(lines.map(([, name = '', value = '']) => [name, value]));
}
