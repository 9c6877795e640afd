/** What `trace why` says of faults that were put into functions of the shop. */
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { projectRoot } from '../tools/go.js';
import { Receiver } from '../tools/receiver.js';
import { missingBpf } from '../tools/require.js';
import { Shop } from '../tools/shop.js';
import { askWhy, setFault, shopping, type WhyAnswer } from '../tools/why.js';

/** Each chooses another function; docs/why.md has the score of five. */
const SEEDS = Number(process.env['UNDERSPAN_WHY_SEEDS'] ?? 1);
/** Writes the score into docs/why.md. */
const WRITES = process.env['UNDERSPAN_WHY_DOCS'] === '1';
/** Only these kinds: 'calls,sleep'. */
const KINDS = process.env['UNDERSPAN_WHY_KINDS']?.split(',');
/** A host that is busy may need another look. */
const LOOKS = 2;

interface Fault {
  kind: string;
  what: string;
  reason: string;
  args?: string[];
  also?: (answer: WhyAnswer) => boolean;
}

const FAULTS: Fault[] = [
  { kind: 'sleep', what: 'sleeps', reason: 'sleep' },
  {
    kind: 'lock',
    what: 'waits for a lock that another request holds',
    reason: 'mutex',
    also: ({ verdict }) => verdict?.by?.function === 'main.(*Ledger).audit',
  },
  { kind: 'allocation', what: 'allocates memory', reason: 'allocation' },
  {
    kind: 'calls',
    what: 'makes 40 calls where there was one',
    reason: 'calls',
    also: ({ verdict }) => verdict?.calls?.function === 'main.fetchRow',
  },
  { kind: 'cpu', what: 'computes', reason: 'running' },
  {
    kind: 'tenant',
    what: 'sleeps, for one customer',
    reason: 'sleep',
    args: ['--arg', 'order.Customer'],
    also: ({ verdict }) => verdict?.mark?.value === 'acme',
  },
  {
    kind: 'error',
    what: 'fails for one argument',
    reason: 'error',
    args: ['--errors-only'],
    also: ({ verdict }) => verdict?.error?.message?.startsWith('injected') === true,
  },
  { kind: 'pool', what: 'waits for a free worker', reason: 'channel_receive' },
  { kind: 'network', what: 'waits for a slow server', reason: 'network' },
];

/**
 * Of these one leaves out what is called 40 times, and pays for it in a closer look; which one, the
 * host's costs decide.
 */
const TIGHT = ['2.5%', '4%', '1.6%'];

/** In a generic function's symbol stand the shapes that it was made for. */
const plain = (name: string | undefined): string | undefined => name?.replace(/\[.*\]/, '[...]');

describe('why requests are slow', { skip: missingBpf() }, () => {
  let shop: Shop;
  let load: Promise<void>;
  const end = new AbortController();
  const score: string[][] = [];

  before(async () => {
    shop = await Shop.start({ serviceName: `why-${process.pid}` });
    load = shopping(shop, end.signal);
  });
  after(async () => {
    end.abort();
    await load;
    await shop.stop();
    if (WRITES && !KINDS) await writeScore(score);
  });

  const look = (args: readonly string[] = []): Promise<WhyAnswer> =>
    askWhy(shop, ['--duration', '5s', ...args]);

  for (const { kind, what, reason, args, also } of FAULTS) {
    if (KINDS && !KINDS.includes(kind)) continue;
    test(`${kind}: a function that ${what}`, async (t) => {
      const wrong: string[] = [];
      let atOnce = 0;
      for (let seed = 1; seed <= SEEDS; seed++) {
        const chosen = await setFault(shop, kind, seed);
        const says: string[] = [];
        let isRight = false;
        while (!isRight && says.length < LOOKS) {
          const answer = await look(args);
          const { verdict, sentence } = answer;
          says.push(sentence);
          isRight =
            plain(verdict?.function) === chosen &&
            verdict?.reason === reason &&
            (also?.(answer) ?? true);
        }
        if (isRight && says.length === 1) atOnce++;
        const told = `${chosen}: ${says.join(' | ')}`;
        t.diagnostic(told);
        if (!isRight) wrong.push(told);
      }
      score.push([what, reason, `${atOnce} of ${SEEDS}`, `${SEEDS - wrong.length} of ${SEEDS}`]);
      assert.deepEqual(wrong, []);
    });
  }

  test('what is called too often for the budget is found by a closer look', async (t) => {
    const chosen = await setFault(shop, 'calls', 1);
    const receiver = await Receiver.start();
    t.after(() => receiver.stop());
    let answer: WhyAnswer | null = null;
    for (const budget of TIGHT) {
      if (answer?.lookedAgain?.answers) break;
      const otlp = ['--otlp-endpoint', receiver.endpoint];
      answer = await look(['--max-overhead', budget, ...otlp, 'main.*']);
      t.diagnostic(`${budget}: ${answer.sentence}, ${JSON.stringify(answer.lookedAgain)}`);
    }
    assert.ok(answer?.lookedAgain?.answers, answer?.sentence);
    const { verdict, lookedAgain, overhead } = answer;
    assert.deepEqual(
      [plain(verdict?.function), verdict?.reason, verdict?.calls?.function],
      [chosen, 'calls', 'main.fetchRow'],
    );
    assert.ok(lookedAgain.added.includes('main.fetchRow'));
    assert.ok(lookedAgain.functions >= answer.path.length - 1);
    for (const { measured } of [overhead, lookedAgain.overhead]) assert.ok(measured);
    const names = new Set(receiver.spans.map(({ name }) => name));
    assert.ok(names.has('main.parseOrder'), 'exported of the first look');
    assert.ok(names.has('main.fetchRow'), 'and of the closer one');
  });

  test('nobody is blamed where nothing is wrong', async (t) => {
    await setFault(shop, null, 0);
    for (let seed = 1; seed <= SEEDS; seed++) {
      const { verdict, sentence, requests } = await look();
      t.diagnostic(sentence);
      assert.ok(requests > 50, sentence);
      assert.equal(verdict, null, sentence);
    }
    score.push([
      'nothing is wrong',
      'nobody is blamed',
      ...Array<string>(2).fill(`${SEEDS} of ${SEEDS}`),
    ]);
  });
});

async function writeScore(rows: readonly string[][]): Promise<void> {
  const path = join(projectRoot, 'docs/why.md');
  const text = await readFile(path, 'utf8');
  const table = [
    ['a function that', 'reason', 'named at the first look', 'within two'],
    Array<string>(4).fill('---'),
    ...rows,
  ].map((row) => `| ${row.join(' | ')} |`);
  const written = text.replace(
    /(<!-- score -->\n)[\s\S]*(\n<!-- \/score -->)/,
    (_, before: string, behind: string) => `${before}\n${table.join('\n')}\n${behind}`,
  );
  await writeFile(path, written);
}
