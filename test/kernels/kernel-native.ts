/**
 * Whether what the kernel does for functions of C is beneath their spans, thread by thread, and
 * whether text and results of functions of the kernel are read.
 */
import assert from 'node:assert/strict';
import { Tracer } from '../tools/tracer.js';
import { byParent, nodesOf, shape } from './kernel-tree.js';

const ROUNDS = 20;
const THREADS = 2;
const EXPECTED = 'work(kernel:vfs_write store(kernel:vfs_write kernel:vfs_write kernel:vfs_write))';

export async function checkKernelOfNative(): Promise<string> {
  const symbols = ['work', 'store', 'kernel:vfs_write'].flatMap((name) => ['--symbol', name]);
  const values = ['--arg', 'size', '--arg', 'count'];
  const tracer = Tracer.start([...symbols, ...values, '--', '/writes', String(ROUNDS)]);
  assert.equal(await tracer.ended(), 0, tracer.stderr);
  process.stderr.write(tracer.stderr);
  const nodes = nodesOf(tracer.spans);
  const childrenOf = byParent(nodes);
  const shapes = nodes
    .filter(({ name }) => name === 'work')
    .map((node) => {
      assert.equal(node.parentSpanId, null);
      return shape(node, childrenOf);
    });
  assert.deepEqual([...new Set(shapes)], [EXPECTED]);
  assert.equal(shapes.length, THREADS * ROUNDS);
  const sizes = nodes.map(({ name, parentSpanId }, index) => {
    const attributes = tracer.spans[index]?.attributes ?? {};
    const around = nodes.find(({ spanId }) => spanId === parentSpanId)?.name;
    const value = attributes[`underspan.arg.${name === 'store' ? 'size' : 'count'}`];
    return `${name} in ${around}: ${value}`;
  });
  assert.deepEqual([...new Set(sizes)].sort(), [
    'kernel:vfs_write in store: 7',
    'kernel:vfs_write in undefined: 8',
    'kernel:vfs_write in work: 6',
    'store in work: 7',
    'work in undefined: undefined',
  ]);
  const threads = new Set(tracer.spans.map(({ attributes }) => attributes['thread.id']));
  assert.equal(threads.size, THREADS + 1);
  const lost = Object.values(tracer.result.lost).reduce((a, b) => a + b, 0);
  assert.equal(lost, 0, JSON.stringify(tracer.result.lost));
  return `${shapes.length} calls of C on ${THREADS} threads have what the kernel did for them`;
}

/** The functions of C that call these are not traced, so that it can be done on all kernels. */
export async function checkKernelValues(): Promise<string> {
  const args = ['buf', '2', 'file.f_path.dentry.d_name.name', 'file.f_path.dentry.d_sb.s_id'];
  const values = args.flatMap((path) => ['--arg', path]);
  const options = ['--symbol', 'kernel:vfs_write', ...values, '--return', '--errors', 'negative'];
  const tracer = Tracer.start([...options, '--', '/writes', String(ROUNDS)]);
  assert.equal(await tracer.ended(), 0, tracer.stderr);
  process.stderr.write(tracer.stderr);
  const seen = tracer.spans.map(({ attributes, status }) => {
    const of = (name: string): string => String(attributes[`underspan.${name}`]);
    const [text, size, file, device] = args.map((path) => of(`arg.${path}`));
    assert.equal(device, 'devtmpfs');
    // Text for write(2) ends with no zero.
    const line = text?.slice(0, Number(size));
    return `${line?.trim()} to ${file}: ${of('return.0')} ${status.code} ${status.message ?? ''}`;
  });
  const counts: Record<string, number> = {};
  for (const each of seen) counts[each] = (counts[each] ?? 0) + 1;
  assert.deepEqual(counts, {
    'a line to null: 7 unset ': 3 * THREADS * ROUNDS,
    'title to null: 6 unset ': THREADS * ROUNDS,
    'nothing to null: -9 error returned -9 (EBADF)': 1,
  });
  const [written] = tracer.result.functions;
  assert.deepEqual([written?.calls, written?.errors], [seen.length, 1]);
  return `text and results of ${seen.length} calls in the kernel are right`;
}
