/**
 * Servers written in C as Debian ships them, stripped of all but their dynamic symbols, traced
 * under their own load generators: calls are those that the server itself counts, and neither it
 * nor who uses it notices.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chown, cp, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { promisify } from 'node:util';
import { freePort } from '../tools/collector.js';
import { debianLibraries, debianPackage } from '../tools/debian.js';
import { inFolder } from '../tools/folder.js';
import { RunningProcess } from '../tools/process.js';
import { obtained, requireBpf } from '../tools/require.js';
import { type JsonSpan, totalLost, Tracer } from '../tools/tracer.js';

const run = promisify(execFile);
const SUITE = 'bookworm';
const ATTACH = ['--ring-size', '64M', '--max-rate', '0'];

/** Each call is a span or a counted loss, and no span hangs from one that did not come. */
function assertWhole({ result, spans, notices, stderr }: Tracer): void {
  for (const { name, calls, spans: sent } of result.functions) {
    assert.equal(spans.filter((span) => span.name === name).length, sent, name);
    assert.ok(sent <= calls, name);
  }
  const calls = result.functions.reduce((sum, each) => sum + each.calls, 0);
  assert.equal(spans.length + totalLost(result), calls, JSON.stringify({ notices, stderr }));
  const ids = new Set(spans.map(({ spanId }) => spanId));
  assert.equal(ids.size, spans.length, 'a span came twice');
  for (const { parentSpanId, name } of spans) {
    assert.ok(parentSpanId === null || ids.has(parentSpanId), `${name} dangles`);
  }
}

function assertCalls({ result }: Tracer, expected: Record<string, number>): void {
  const called = Object.keys(expected).map((name) => {
    const calls = result.functions.find((each) => each.name === name)?.calls ?? 0;
    return [name, calls] as const;
  });
  assert.deepEqual(Object.fromEntries(called), expected);
  for (const [name, count] of called) assert.ok(count > 0, `${name} was not called`);
}

const failed = ({ spans }: Tracer, name: string): JsonSpan[] =>
  spans.filter((span) => span.name === name && span.status.code === 'error');

/** For the reader of the test's output. */
function report(t: TestContext, { result, spans, stderr }: Tracer): void {
  const calls = result.functions.map(({ name, calls }) => `${name} ${calls}`).join(', ');
  const lost = Object.entries(result.lost).filter(([, count]) => count > 0);
  t.diagnostic(
    `${stderr.split('\n')[0] ?? ''}; ${calls}; ${spans.length} spans, lost: ${JSON.stringify(lost)}`,
  );
}

interface Redis {
  server: string;
  client: (...args: string[]) => Promise<string>;
  benchmark: (...args: string[]) => Promise<string>;
  environment: Record<string, string>;
}

/** Server, client and load generator are in one package. */
async function redis(port: number): Promise<Redis> {
  const folder = join(await debianPackage(SUITE, 'redis-tools'), 'usr/bin');
  const server = join(folder, 'redis-check-rdb');
  const libraries = ['libatomic1', 'libgcrypt20', 'libjemalloc2', 'liblz4-1', 'liblzf1'].concat(
    ['libssl3', 'libstdc++6', 'libsystemd0', 'libzstd1', 'libgcc-s1', 'libcap2', 'libgpg-error0'],
    ['liblzma5'],
  );
  const environment = { LD_LIBRARY_PATH: await debianLibraries(SUITE, [server], libraries) };
  const tool =
    (name: string) =>
    async (...args: string[]): Promise<string> => {
      const env = { ...process.env, ...environment };
      const { stdout, stderr } = await run(join(folder, name), ['-p', String(port), ...args], {
        env,
      });
      assert.doesNotMatch(`${stdout}${stderr}`, /could not connect|error from server/i);
      return stdout;
    };
  return { server, environment, client: tool('redis-cli'), benchmark: tool('redis-benchmark') };
}

/** Calls by command, and those of all. */
async function redisCounts({
  client,
}: Redis): Promise<{ of: (name: string) => number; all: number }> {
  const text = await client('info', 'everything');
  const number = (pattern: RegExp): number => Number(pattern.exec(text)?.[1] ?? 0);
  return {
    of: (name) => number(new RegExp(`^cmdstat_${name}:calls=(\\d+)`, 'm')),
    all: number(/^total_commands_processed:(\d+)/m),
  };
}

const REDIS_REQUESTS = 2_000;
const REDIS_ERRORS = 20;

for (const transport of ['ring', 'perf']) {
  test(`redis by ${transport}`, async (t) => {
    if (!requireBpf(t)) return;
    const port = await freePort();
    const tools = await obtained(t, redis(port));
    if (!tools) return;
    const { client, benchmark } = tools;
    await inFolder(async (folder) => {
      // By this name it is the server.
      const name = join(folder, 'redis-server');
      await symlink(tools.server, name);
      const args = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', folder];
      const server = await RunningProcess.start(name, args, tools.environment);
      try {
        await server.until('it answers', () =>
          /Ready to accept/.test(server.output) ? true : null,
        );
        const before = await redisCounts(tools);
        const functions = ['call', 'processCommand', 'setCommand', 'getCommand', 'lpushCommand'];
        const tracer = await Tracer.attach([
          ...['--pid', String(server.pid), '--transport', transport, ...ATTACH, ...functions],
          ...['evalCommand', 'lua_error', 'rdbSaveRio', 'rdbSaveKeyValuePair'],
        ]);
        const load = [
          '-t',
          'set,get,lpush',
          '-n',
          String(REDIS_REQUESTS),
          '-c',
          '8',
          '-e',
          '--csv',
        ];
        assert.match(await benchmark(...load, '-r', '500'), /"LPUSH"/);
        // Lua leaves the command that fails by longjmp.
        const script = "redis.call('set', KEYS[1], 'x') return redis.call('lpush', KEYS[1], 'y')";
        for (let n = 0; n < REDIS_ERRORS; n++) {
          assert.match(await client('eval', script, '1', 'word'), /WRONGTYPE/);
        }
        const keys = Number(await client('dbsize'));
        // By a child that it forks.
        await client('bgsave');
        await server.until('saved', async () =>
          /rdb_bgsave_in_progress:0/.test(await client('info', 'persistence')) ? true : null,
        );
        assert.equal(await tracer.stop(), 0, tracer.stderr);
        const after = await redisCounts(tools);
        report(t, tracer);
        const made = (command: string): number => after.of(command) - before.of(command);
        assertWhole(tracer);
        assertCalls(tracer, {
          // Each counts itself only after it has answered.
          call: after.all - before.all - 1,
          setCommand: made('set'),
          getCommand: made('get'),
          lpushCommand: made('lpush'),
          evalCommand: made('eval'),
          lua_error: REDIS_ERRORS,
          rdbSaveRio: 1,
          rdbSaveKeyValuePair: keys,
        });
        assert.equal(failed(tracer, 'lua_error').length, REDIS_ERRORS);
        assert.match(await client('lastsave'), /^\d+/);
        assert.match(await client('info', 'persistence'), /rdb_last_bgsave_status:ok/);
      } finally {
        await server.stop();
      }
    });
  });
}

interface Postgres {
  bin: string;
  environment: Record<string, string>;
  /** Runs one of its programs; rejects if it fails. */
  tool: (file: string, ...args: string[]) => Promise<string>;
}

/** It refuses to run as root. */
const USER = 'nobody';

async function idsOfUser(): Promise<{ uid: number; gid: number }> {
  const [uid, gid] = await Promise.all(['-u', '-g'].map((which) => run('id', [which, USER])));
  return { uid: Number(uid?.stdout), gid: Number(gid?.stdout) };
}

const asUser = ({ uid, gid }: { uid: number; gid: number }): string[] => [
  ...['setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups'],
];

/** A copy in `folder`, since the checkout may be where only root can read. */
async function postgres(folder: string): Promise<Postgres> {
  for (const name of ['postgresql-15', 'postgresql-client-15']) {
    await cp(await debianPackage(SUITE, name), folder, {
      recursive: true,
      filter: (source) => !/\/(?:bitcode|doc|man|locale)$/.test(source),
      force: true,
    });
  }
  const bin = join(folder, 'usr/lib/postgresql/15/bin');
  const libraries = ['libpq5', 'libgssapi-krb5-2', 'libicu72', 'libk5crypto3', 'libkrb5-3'].concat(
    ['libkrb5support0', 'libldap-2.5-0', 'liblz4-1', 'libsasl2-2', 'libssl3', 'libstdc++6'],
    ['libsystemd0', 'libxml2', 'libzstd1', 'libpam0g', 'libaudit1', 'libcap-ng0', 'libgcrypt20'],
    ['libgpg-error0', 'libcap2', 'libkeyutils1', 'libcom-err2', 'liblzma5', 'libreadline8'],
    ['libtinfo6', 'zlib1g', 'libgcc-s1'],
  );
  const programs = ['postgres', 'psql', 'pgbench'].map((name) => join(bin, name));
  const path = await debianLibraries(SUITE, programs, libraries);
  const environment = { LD_LIBRARY_PATH: path, PGHOST: folder, PGUSER: USER };
  const user = await idsOfUser();
  await chown(folder, user.uid, user.gid);
  const tool = async (file: string, ...args: string[]): Promise<string> => {
    const [command = '', ...rest] = [...asUser(user), join(bin, file), ...args];
    const env = { ...process.env, ...environment };
    const { stdout, stderr } = await run(command, rest, { env, cwd: folder });
    return stdout + stderr;
  };
  return { bin, environment, tool };
}

/** Its own statistics. */
interface PostgresCounts {
  transactions: number;
  sessions: number;
  /** Records of the write-ahead log. */
  records: number;
}

const PSQL = ['--no-psqlrc', '--no-align', '--tuples-only', '--dbname=postgres'];

/** Connections that have closed hand in their counts as they exit. */
const ALL_GONE = `do $$ begin
  while (select count(*) from pg_stat_activity where backend_type = 'client backend') > 1 loop
    perform pg_sleep(0.01), pg_stat_clear_snapshot();
  end loop;
end $$`;

async function postgresCounts({ tool }: Postgres): Promise<PostgresCounts> {
  const text = await tool(
    ...(['psql', ...PSQL, '-c', ALL_GONE] as const),
    ...['-c', 'select sum(xact_commit + xact_rollback), sum(sessions) from pg_stat_database'],
    ...['-c', 'select wal_records from pg_stat_wal'],
  );
  const [, transactions, sessions, records] = /(\d+)\|(\d+)\s+(\d+)/.exec(text) ?? [];
  return {
    transactions: Number(transactions),
    sessions: Number(sessions),
    records: Number(records),
  };
}

const POSTGRES_FUNCTIONS = {
  pid: ['PostgresMain', 'AtEOXact_PgStat', 'XLogInsert', 'pg_parse_query', 'pg_plan_query'].concat([
    'errfinish',
    'standard_ExecutorStart',
    'standard_ExecutorRun',
    'standard_ProcessUtility',
  ]),
  // What is called next after a failure lies deeper than what failed.
  exe: ['XLogInsert', 'standard_ExecutorRun', 'subquery_planner'],
};
const TRANSACTIONS = 400;
const FAILURES = 10;
const SETTINGS = {
  autovacuum: 'off',
  checkpoint_timeout: '1h',
  fsync: 'off',
  listen_addresses: '',
  log_statement: 'all',
  max_logical_replication_workers: '0',
  max_wal_senders: '0',
  max_parallel_workers_per_gather: '0',
  wal_level: 'minimal',
};

/**
 * Statements that fail while they are planned, while they run, and within a block that goes on.
 * `begin`: a command of the client's before them.
 */
async function fail({ tool }: Postgres, begin: string): Promise<void> {
  const planned = 'select 1 / 0;';
  const executed = 'select 1 / (n - n) from generate_series(1, 3) n;';
  const caught = `do $$ begin perform 1 / (n - n) from generate_series(1, 3) n;
    exception when division_by_zero then null; end $$;`;
  const statements = `${planned} ${executed} ${caught} select 'goes on';`;
  const commands = statements.split(/(?<=;) (?=select|do)/).flatMap((each) => ['-c', each]);
  const calls = Array.from({ length: FAILURES }, () => commands).flat();
  const text = await tool('psql', ...PSQL, '-c', begin, ...calls);
  assert.equal(text.match(/division by zero/g)?.length, 2 * FAILURES);
  assert.equal(text.match(/goes on/g)?.length, FAILURES);
}

/** A back end that exits while it sleeps. */
async function terminateSleeper({ tool }: Postgres): Promise<void> {
  const sleeper = assert.rejects(tool('psql', ...PSQL, '-c', 'select pg_sleep(60)'), /terminat/);
  const terminate = `select pg_terminate_backend(pid) from pg_stat_activity
    where query = 'select pg_sleep(60)' and wait_event = 'PgSleep'`;
  for (let left = 500; (await tool('psql', ...PSQL, '-c', terminate)).trim() !== 't'; left--) {
    assert.ok(left > 0, 'nobody sleeps');
  }
  await sleeper;
}

const statementsLogged = ({ output }: RunningProcess): number =>
  output.split('LOG:  statement: ').length - 1;

for (const by of ['exe', 'pid'] as const) {
  test(`postgres by ${by}`, async (t) => {
    if (!requireBpf(t)) return;
    await inFolder(async (folder) => {
      const database = await obtained(t, postgres(folder));
      if (!database) return;
      const { bin, environment, tool } = database;
      const data = join(folder, 'data');
      await tool('initdb', '-D', data, '-A', 'trust', '--no-sync', '--no-locale', '-U', USER);
      const [command = '', ...args] = [...asUser(await idsOfUser()), join(bin, 'postgres')];
      const settings = Object.entries(SETTINGS).map(([name, value]) => `--${name}=${value}`);
      const server = await RunningProcess.start(
        command,
        [...args, '-D', data, '-k', folder, ...settings],
        environment,
      );
      try {
        await server.until('it is ready', () =>
          /ready to accept connections/.test(server.output) ? true : null,
        );
        await tool('pgbench', '-i', '-q', 'postgres');
        await postgresCounts(database);
        const first = await postgresCounts(database);
        const before = await postgresCounts(database);
        const statements = statementsLogged(server);
        const selection = { exe: join(bin, 'postgres'), pid: String(server.pid) }[by];
        // Of what is selected by its executable the back end is there before the tracer is.
        const wait = `\\! touch ${folder}/waits; until [ -e ${folder}/go ]; do sleep 0.05; done`;
        const early = by === 'exe' ? fail(database, wait) : null;
        if (early) {
          await server.until('a client waits', () =>
            existsSync(join(folder, 'waits')) ? true : null,
          );
        }
        const tracer = await Tracer.attach([
          `--${by}`,
          selection,
          ...ATTACH,
          ...POSTGRES_FUNCTIONS[by],
        ]);
        const load = ['-n', '-c', '4', '-j', '2', '-t', String(TRANSACTIONS / 4), 'postgres'];
        const told = await tool('pgbench', ...load);
        assert.match(told, new RegExp(`actually processed: ${TRANSACTIONS}/${TRANSACTIONS}`));
        assert.match(told, /failed transactions: 0 /);
        await writeFile(join(folder, 'go'), '');
        await (early ?? fail(database, '\\conninfo'));
        await terminateSleeper(database);
        await postgresCounts(database);
        assert.equal(await tracer.stop(), 0, tracer.stderr);
        report(t, tracer);
        const logged = statementsLogged(server) - statements;
        const after = await postgresCounts(database);
        // What the counting itself takes.
        const made = (what: keyof PostgresCounts): number =>
          after[what] - before[what] - (before[what] - first[what]);
        assertWhole(tracer);
        const counted: Record<string, number> = {
          PostgresMain: made('sessions'),
          AtEOXact_PgStat: made('transactions'),
          XLogInsert: made('records'),
          pg_parse_query: logged,
        };
        const traced = POSTGRES_FUNCTIONS[by].filter((name) => name in counted);
        assertCalls(tracer, Object.fromEntries(traced.map((name) => [name, counted[name] ?? 0])));
        assert.equal(failed(tracer, 'standard_ExecutorRun').length, 2 * FAILURES);
        if (by === 'pid') {
          assert.equal(failed(tracer, 'errfinish').length, 3 * FAILURES);
          assert.equal(failed(tracer, 'pg_plan_query').length, FAILURES);
        }
        const left = new Set(failed(tracer, 'standard_ExecutorRun').map(({ spanId }) => spanId));
        const beneath = tracer.spans.filter(({ parentSpanId }) => left.has(parentSpanId ?? ''));
        if (by === 'exe') assert.deepEqual(beneath, []);
      } finally {
        await server.stop('SIGINT');
      }
    });
  });
}

interface Nginx {
  server: string;
  environment: Record<string, string>;
  /** The load generator; rejects if it fails. */
  ab: (...args: string[]) => Promise<string>;
}

async function nginx(): Promise<Nginx> {
  const server = join(await debianPackage(SUITE, 'nginx'), 'usr/sbin/nginx');
  const ab = join(await debianPackage(SUITE, 'apache2-utils'), 'usr/bin/ab');
  const libraries = ['libpcre2-8-0', 'libssl3', 'libapr1', 'libaprutil1', 'libuuid1', 'libcrypt1'];
  const path = await debianLibraries(SUITE, [server, ab], [...libraries, 'libexpat1', 'zlib1g']);
  const environment = { LD_LIBRARY_PATH: path };
  const env = { ...process.env, ...environment };
  return { server, environment, ab: async (...args) => (await run(ab, args, { env })).stdout };
}

const nginxSettings = (port: number): string => `
  daemon off;
  user root root;
  worker_processes 2;
  pid nginx.pid;
  error_log stderr notice;
  events {}
  http {
    access_log access.log;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {
      listen 127.0.0.1:${port};
      location / { root .; }
      location /proxied { proxy_pass http://127.0.0.1:${port}/page; }
      location /status { access_log off; stub_status; }
    }
  }`;

const NGINX_REQUESTS = 1_500;
const NGINX_FUNCTIONS = ['ngx_http_process_request', 'ngx_http_handler', 'ngx_http_free_request'];

/** Requests that it has begun. */
async function nginxRequests(port: number): Promise<number> {
  const response = await fetch(`http://127.0.0.1:${port}/status`, {
    headers: { connection: 'close' },
  });
  return Number(/^ *\d+ \d+ (\d+)/m.exec(await response.text())?.[1]);
}

test('nginx', async (t) => {
  if (!requireBpf(t)) return;
  const tools = await obtained(t, nginx());
  if (!tools) return;
  await inFolder(async (folder) => {
    const port = await freePort();
    await writeFile(join(folder, 'nginx.conf'), nginxSettings(port));
    await writeFile(join(folder, 'page'), 'a page\n'.repeat(100));
    const args = ['-p', folder, '-c', 'nginx.conf', '-e', 'stderr'];
    const server = await RunningProcess.start(tools.server, args, tools.environment);
    const workers = (): number => server.output.split('start worker process ').length - 1;
    try {
      await server.until('workers run', () => (workers() === 2 ? true : null));
      const before = await nginxRequests(port);
      const tracer = await Tracer.attach([
        ...['--exe', tools.server, ...ATTACH, ...NGINX_FUNCTIONS],
        ...['ngx_spawn_process', 'ngx_http_upstream_init'],
      ]);
      const load = async (path: string, ...options: string[]): Promise<void> => {
        const url = `http://127.0.0.1:${port}/${path}`;
        const told = await tools.ab('-q', '-n', String(NGINX_REQUESTS), '-c', '8', ...options, url);
        assert.match(told, /Failed requests: +0\n/);
        assert.doesNotMatch(told, /Non-2xx/);
      };
      await load('page', '-k');
      // Other workers, which it forks while it is traced.
      server.child.kill('SIGHUP');
      await server.until('other workers run', () => (workers() === 4 ? true : null));
      // A worker that is told to end closes connections that wait for another request.
      await load('proxied');
      const after = await nginxRequests(port);
      assert.equal(await tracer.stop(), 0, tracer.stderr);
      report(t, tracer);
      const lines = (await readFile(join(folder, 'access.log'), 'utf8')).split('\n').length - 1;
      // Those of the counting itself are not logged, and one of them ended before.
      assert.equal(after - before - 1, lines);
      assertWhole(tracer);
      assertCalls(tracer, {
        ngx_http_process_request: after - before,
        ngx_http_free_request: after - before,
        ngx_spawn_process: 2,
        ngx_http_upstream_init: NGINX_REQUESTS,
      });
      assert.equal(failed(tracer, 'ngx_http_handler').length, 0);
      assert.ok((await nginxRequests(port)) > after);
    } finally {
      await server.stop();
    }
  });
});
