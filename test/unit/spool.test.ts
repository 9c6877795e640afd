/** The spool on disk by itself: what it keeps, refuses, and finds broken. */
import assert from 'node:assert/strict';
import { chmod, mkdir, readdir, readFile, stat, symlink, writeFile, chown } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { UnderspanError } from '../../src/errors.js';
import { parseName } from '../../src/sinks/spool-segment.js';
import { Spool } from '../../src/sinks/spool.js';
import { inFolder } from '../tools/folder.js';
import { requireRoot } from '../tools/require.js';

const MIB = 1024 * 1024;

function payload(size: number, seed = 1): Uint8Array {
  return Uint8Array.from({ length: size }, (_, at) => (at * seed) % 251);
}

/** All that it delivers, in order. */
async function drain(spool: Spool): Promise<Uint8Array[]> {
  const all: Uint8Array[] = [];
  for (let segment = spool.take(); segment; segment = spool.take()) {
    const bytes = await spool.read(segment);
    if (!bytes) continue;
    all.push(bytes);
    await spool.remove(segment);
  }
  return all;
}

const segments = async (directory: string): Promise<string[]> =>
  (await readdir(join(directory, 'otlp'))).filter((name) => parseName(name) !== null).sort();

test('what was written is there after a restart, in its order', async () => {
  await inFolder(async (directory) => {
    const first = await Spool.open({ directory, maxBytes: MIB });
    for (let seed = 1; seed <= 5; seed++) assert.ok(await first.write(payload(9, seed), seed, 0));
    await first.close();
    const second = await Spool.open({ directory, maxBytes: MIB });
    assert.equal(second.spans, 15);
    assert.ok(await second.write(payload(9, 6), 6, 0));
    const expected = [1, 2, 3, 4, 5, 6].map((seed) => payload(9, seed));
    assert.deepEqual(
      (await drain(second)).map((bytes) => Uint8Array.from(bytes)),
      expected,
    );
    assert.equal(second.spans, 0);
    assert.equal(second.bytes, 0);
    await second.close();
    assert.deepEqual(await readdir(join(directory, 'otlp')), []);
  });
});

test('it is bounded in what it takes of the disk', async () => {
  await inFolder(async (directory) => {
    const spool = await Spool.open({ directory, maxBytes: 40_000 });
    let written = 0;
    while (await spool.write(payload(5_000), 1, 0)) written++;
    assert.equal(written, 4);
    assert.ok(spool.full);
    const segment = spool.take();
    assert.ok(segment);
    await spool.remove(segment);
    assert.ok(!spool.full);
    assert.ok(await spool.write(payload(5_000), 1, 0));
    await spool.close();
  });
});

test('a segment under way says so on disk, until its fate is known', async () => {
  await inFolder(async (directory) => {
    const tries = async (): Promise<number[]> =>
      (await segments(directory)).map((name) => parseName(name)?.uncertain ?? -1);
    const spool = await Spool.open({ directory, maxBytes: MIB });
    await spool.write(payload(9), 7, 0);
    const segment = spool.take();
    assert.ok(segment);
    await spool.read(segment);
    assert.deepEqual(await tries(), [1]);
    await spool.release(segment, false);
    assert.deepEqual(await tries(), [0]);
    assert.equal(spool.take(), segment);
    await spool.read(segment);
    await spool.release(segment, true);
    await spool.close();
    const again = await Spool.open({ directory, maxBytes: MIB });
    assert.equal(again.take()?.uncertain, 1);
    await again.close();
  });
});

test('what is given back keeps its place', async () => {
  await inFolder(async (directory) => {
    const spool = await Spool.open({ directory, maxBytes: MIB });
    for (let spans = 1; spans <= 4; spans++) await spool.write(payload(9), spans, 0);
    const [first, second, third] = [spool.take(), spool.take(), spool.take()];
    assert.ok(first && second && third);
    await spool.release(third, true);
    await spool.release(first, true);
    await spool.release(second, true);
    const order = [spool.take(), spool.take(), spool.take(), spool.take()];
    assert.deepEqual(
      order.map((segment) => segment?.spans),
      [1, 2, 3, 4],
    );
    await spool.close();
  });
});

test('broken segments are left out and counted, whatever was done to them', async () => {
  await inFolder(async (directory) => {
    let seed = 42;
    const random = (below: number): number => {
      seed = (seed * 1_103_515_245 + 12_345) & 0x7fffffff;
      return (seed >> 8) % below;
    };
    for (let round = 0; round < 10; round++) {
      const first = await Spool.open({ directory, maxBytes: MIB });
      for (let spans = 1; spans <= 12; spans++) await first.write(payload(200, spans), spans, 0);
      await first.close();
      const names = await segments(directory);
      let broken = 0;
      const whole: Uint8Array[] = [];
      for (const name of names) {
        const path = join(directory, 'otlp', name);
        const spans = parseName(name)?.spans ?? 0;
        const bytes = await readFile(path);
        const what = random(4);
        if (what === 0) {
          whole.push(payload(200, spans));
          continue;
        }
        broken += spans;
        if (what === 1) await writeFile(path, bytes.subarray(0, random(bytes.length)));
        if (what === 2) await writeFile(path, Buffer.concat([bytes, Buffer.alloc(1 + random(9))]));
        if (what === 3) {
          const at = random(bytes.length);
          bytes[at] = (bytes[at] ?? 0) ^ (1 << random(8));
          await writeFile(path, bytes);
        }
      }
      const second = await Spool.open({ directory, maxBytes: MIB });
      const delivered = (await drain(second)).map((each) => Uint8Array.from(each));
      assert.deepEqual(delivered, whole);
      assert.equal(second.corrupt, broken);
      assert.equal(second.spans, 0);
      await second.close();
      assert.deepEqual(await segments(directory), []);
    }
  });
});

test('what is no segment is left alone', async () => {
  await inFolder(async (directory) => {
    await mkdir(join(directory, 'otlp'));
    const foreign = ['readme', '1-2-3.otlp', '000000000000001-1-0.otlp.tmp', '..otlp'];
    for (const name of foreign) await writeFile(join(directory, 'otlp', name), 'x');
    await mkdir(join(directory, 'otlp', '000000000000002-1-0.otlp'));
    await symlink('/etc/passwd', join(directory, 'otlp', '000000000000003-1-0.otlp'));
    const spool = await Spool.open({ directory, maxBytes: MIB });
    assert.equal(spool.waiting, 0);
    await spool.close();
    assert.equal((await readdir(join(directory, 'otlp'))).length, foreign.length + 2);
  });
});

test('only its owner may look into it', async () => {
  await inFolder(async (directory) => {
    await mkdir(join(directory, 'otlp'), { mode: 0o755 });
    await chmod(directory, 0o777);
    const spool = await Spool.open({ directory, maxBytes: MIB });
    await spool.write(payload(9), 1, 0);
    assert.equal((await stat(join(directory, 'otlp'))).mode & 0o777, 0o700);
    // A volume's mode is not ours to change.
    assert.equal((await stat(directory)).mode & 0o777, 0o777);
    const [name = ''] = await segments(directory);
    assert.equal((await stat(join(directory, 'otlp', name))).mode & 0o777, 0o600);
    await spool.close();
  });
});

const refused = (code: string) => (error: unknown) =>
  error instanceof UnderspanError && error.code === code;

test('links are not followed', async () => {
  await inFolder(async (folder) => {
    const [real, link, within] = ['real', 'link', 'within'].map((name) => join(folder, name)) as [
      string,
      string,
      string,
    ];
    await mkdir(real);
    await mkdir(within);
    await symlink(real, link);
    await symlink(real, join(within, 'otlp'));
    for (const directory of [link, within]) {
      await assert.rejects(
        Spool.open({ directory, maxBytes: MIB }),
        refused('spool-directory'),
        directory,
      );
    }
    await writeFile(join(folder, 'file'), '');
    const directory = join(folder, 'file');
    await assert.rejects(Spool.open({ directory, maxBytes: MIB }), refused('spool-directory'));
    assert.deepEqual(await readdir(real), []);
  });
});

test('a folder of another user is not used', async (t) => {
  if (!requireRoot(t)) return;
  await inFolder(async (folder) => {
    for (const path of ['own/otlp', 'theirs']) {
      await mkdir(join(folder, path), { recursive: true });
      await chown(join(folder, path), 1_234, 1_234);
    }
    for (const directory of [join(folder, 'own'), join(folder, 'theirs')]) {
      await assert.rejects(
        Spool.open({ directory, maxBytes: MIB }),
        refused('spool-directory'),
        directory,
      );
    }
  });
});

test('one process at a time', async () => {
  await inFolder(async (directory) => {
    const first = await Spool.open({ directory, maxBytes: MIB });
    await assert.rejects(Spool.open({ directory, maxBytes: MIB }), refused('spool-in-use'));
    await first.close();
    const second = await Spool.open({ directory, maxBytes: MIB });
    await second.close();
  });
});
