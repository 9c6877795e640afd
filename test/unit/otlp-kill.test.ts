/** kill -9 at any moment: what was in the spool is delivered, and what came twice is counted. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, test } from 'node:test';
import { status } from '@grpc/grpc-js';
import { parseName, payloadOf } from '../../src/sinks/spool-segment.js';
import type { SinkState } from '../../src/sinks/sink.js';
import { inFolder } from '../tools/folder.js';
import { decodeTraces } from '../tools/otlp.js';
import { closeAll } from '../tools/otlp-sink.js';
import { sleep } from '../tools/process.js';
import { type Answer, Receiver } from '../tools/receiver.js';

afterEach(closeAll);

const SPOOLER = join(import.meta.dirname, '../tools/spooler.js');
const KILLS = 20;

type Counts = Pick<SinkState, 'delivered' | 'repeated' | 'spooledSpans' | 'lost'>;

/** Runs until `enough`, then kills it; or until it ends. What it said last. */
async function run(
  args: [endpoint: string, directory: string, prefix: string],
  enough: ((counts: Counts) => boolean | Promise<boolean>) | null,
): Promise<Counts> {
  const child = spawn(process.execPath, [SPOOLER, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  const last = (): Counts | null => {
    const line = output.slice(0, output.lastIndexOf('\n')).split('\n').at(-1);
    return line ? (JSON.parse(line) as Counts) : null;
  };
  const closed = once(child, 'close');
  if (enough) {
    for (const end = Date.now() + 30_000; ;) {
      const counts = last();
      if (counts && (await enough(counts))) break;
      assert.ok(Date.now() < end && child.exitCode === null, output.slice(-500));
      await sleep(2);
    }
    child.kill('SIGKILL');
  }
  await closed;
  const counts = last();
  assert.ok(counts);
  return counts;
}

/** The ids in all segments that are whole, and how many spans were in those that are not. */
async function look(directory: string): Promise<{ ids: string[]; torn: number }> {
  const ids: string[] = [];
  let torn = 0;
  const folder = join(directory, 'otlp');
  for (const name of await readdir(folder)) {
    const parsed = parseName(name);
    if (!parsed) continue;
    const payload = payloadOf(await readFile(join(folder, name)), parsed.spans);
    if (payload) for (const { spanId } of decodeTraces(payload)) ids.push(spanId);
    else torn += parsed.spans;
  }
  return { ids, torn };
}

test(`killed ${KILLS} times while it fills and empties its spool`, async (t) => {
  await inFolder(async (directory) => {
    let last = false;
    const receiver = await Receiver.start({
      answer: async (): Promise<Answer> => {
        await sleep(Math.random() * 30);
        return last || Math.random() < 0.6
          ? { accept: true }
          : { accept: false, code: status.UNAVAILABLE, message: 'busy' };
      },
    });
    const spooled = new Set<string>();
    let repeated = 0;
    let corrupt = 0;
    let torn = 0;
    for (let kill = 0; kill < KILLS; kill++) {
      const wait = Math.random() * 600;
      const prefix = (kill + 16).toString(16);
      let seen = 0;
      const counts = await run([receiver.endpoint, directory, prefix], ({ spooledSpans }) => {
        if (spooledSpans > 0) seen ||= Date.now();
        return seen > 0 && Date.now() - seen >= wait;
      });
      repeated += counts.repeated;
      corrupt += counts.lost['spoolCorrupt'] ?? 0;
      const found = await look(directory);
      for (const id of found.ids) spooled.add(id);
      torn += found.torn;
    }
    const before = (await look(directory)).ids.length;
    last = true;
    if (before > 0) {
      const counts = await run([receiver.endpoint, directory, ''], null);
      repeated += counts.repeated;
      corrupt += counts.lost['spoolCorrupt'] ?? 0;
    }
    receiver.stop();
    const ids = receiver.spans.map(({ spanId }) => spanId);
    const arrived = new Set(ids);
    const twice = ids.length - arrived.size;
    t.diagnostic(`${arrived.size} spans, ${spooled.size} spooled, ${twice} twice of ${repeated}`);
    assert.ok(spooled.size > 1_000);
    assert.deepEqual(
      [...spooled].filter((id) => !arrived.has(id)),
      [],
    );
    assert.ok(twice <= repeated, `${twice} came twice, ${repeated} were counted`);
    assert.ok(corrupt <= torn, `${corrupt} counted as corrupt, ${torn} torn`);
  });
});

test('killed before the answers came: exactly what comes twice is counted', async () => {
  await inFolder(async (directory) => {
    const away = await Receiver.start();
    away.stop();
    await run([away.endpoint, directory, 'aa'], ({ spooledSpans }) => spooledSpans > 8_000);
    const { ids } = await look(directory);
    let hold = true;
    const receiver: Receiver = await Receiver.start({
      answer: (spans): Answer | Promise<Answer> => {
        if (!hold) return { accept: true };
        for (const span of spans) receiver.spans.push(span);
        return new Promise(() => undefined);
      },
    });
    const held = await run([receiver.endpoint, directory, 'bb'], () => receiver.requests >= 8);
    assert.equal(held.delivered, 0);
    hold = false;
    const { ids: all } = await look(directory);
    const counts = await run([receiver.endpoint, directory, ''], null);
    receiver.stop();
    const arrived = receiver.spans.map(({ spanId }) => spanId);
    const unique = new Set(arrived);
    assert.ok([...ids, ...all].every((id) => unique.has(id)));
    assert.ok(counts.repeated > 0);
    assert.equal(arrived.length - unique.size, counts.repeated);
  });
});
