import assert from 'node:assert/strict';
import { describe as suite, test } from 'node:test';
import { checkSpans, type CheckedSpan, type CheckOptions } from '../tools/check.js';
import { Truth } from '../tools/truth.js';

const T1 = '1'.repeat(32);
const T2 = '2'.repeat(32);
const traced = new Set(['main.a', 'main.b', 'main.c', 'main.g[...]']);

/** Builds a log and the spans that fit it, event by event; times are the orders in ms. */
class Story {
  private readonly lines: object[] = [];
  private order = 0;
  private seq = 0;
  readonly spans: CheckedSpan[] = [];

  private stamp(goroutine: number): { goroutine: number; order: number; time: string } {
    const order = ++this.order;
    return { goroutine, order, time: String(order * 1_000_000) };
  }

  started(trace: string, span: string, goroutine = 1): this {
    this.lines.push({
      event: 'span',
      name: span,
      trace,
      span,
      parent: null,
      ...this.stamp(goroutine),
    });
    return this;
  }

  /** A call, and unless `placed` is null its span. Returns the call's number. */
  call(
    name: string,
    seen: {
      around?: number;
      context?: [trace: string, span: string];
      current?: [trace: string, span: string];
      sampled?: boolean;
      goroutine?: number;
      open?: boolean;
    },
    placed: [trace: string, parent: string | null, source: string] | null,
  ): number {
    const seq = ++this.seq;
    const goroutine = seen.goroutine ?? 1;
    const sampled = seen.sampled ?? true;
    const context = (of?: [string, string]): object | null =>
      of ? { trace: of[0], span: of[1], sampled } : null;
    const stamp = this.stamp(goroutine);
    this.lines.push({
      event: 'call',
      seq,
      function: name.replace(/\[.*\]/, '[...]'),
      around: seen.around ?? null,
      context: context(seen.context),
      current: context(seen.current),
      ...stamp,
    });
    if (placed)
      this.spans.push({
        name,
        spanId: `call${seq}`,
        traceId: placed[0],
        parentSpanId: placed[1],
        startTimeUnixNano: BigInt(stamp.time) - 5_000n,
        attributes: {
          'underspan.goroutine.id': goroutine,
          'underspan.context.source': placed[2],
        },
      });
    if (!seen.open)
      this.lines.push({ event: 'return', seq, unwound: false, ...this.stamp(goroutine) });
    return seq;
  }

  kinds(options: Partial<CheckOptions> = {}): string[] {
    const text = this.lines.map((line) => `${JSON.stringify(line)}\n`).join('');
    return checkSpans(Truth.parse(text), this.spans, { traced, ...options }).map(
      ({ kind, seq }) => `${kind} ${seq}`,
    );
  }
}

suite('who is the parent', () => {
  test('no call around: the context, else none', () => {
    const story = new Story().started(T1, 's1');
    story.call('main.a', { context: [T1, 's1'] }, [T1, 's1', 'go.context']);
    story.call('main.b', { current: [T1, 's1'] }, [T1, 's1', 'go.sdk']);
    story.call('main.c', {}, ['9'.repeat(32), null, 'none']);
    assert.deepEqual(story.kinds(), []);
  });

  test('the context in the arguments beats the current one', () => {
    const story = new Story().started(T1, 's1').started(T2, 's2');
    story.call('main.a', { context: [T1, 's1'], current: [T2, 's2'] }, [T2, 's2', 'go.sdk']);
    assert.deepEqual(story.kinds(), ['trace 1', 'parent 1', 'source 1']);
  });

  test('the context of the call around, an older one, or none: the call around', () => {
    const story = new Story().started(T1, 's0').started(T1, 's1');
    const a = story.call('main.a', { context: [T1, 's1'] }, [T1, 's1', 'go.context']);
    story.call('main.b', { around: a, context: [T1, 's1'] }, [T1, 'call1', 'go.context']);
    story.call('main.b', { around: a, context: [T1, 's0'] }, [T1, 'call1', 'go.context']);
    story.call('main.b', { around: a, current: [T1, 's1'] }, [T1, 'call1', 'go.sdk']);
    story.call('main.b', { around: a }, [T1, 'call1', 'go.context']);
    assert.deepEqual(story.kinds(), []);
  });

  test('a span that was opened since the call around began', () => {
    const story = new Story().started(T1, 's1');
    const a = story.call('main.a', { context: [T1, 's1'], open: true }, [T1, 's1', 'go.context']);
    story.started(T1, 's2');
    story.call('main.b', { around: a, context: [T1, 's2'] }, [T1, 's2', 'go.context']);
    story.call('main.c', { around: a, current: [T1, 's2'] }, [T1, 'call1', 'go.sdk']);
    assert.deepEqual(story.kinds(), ['parent 3']);
  });

  test('another trace: only if the code chose it', () => {
    const story = new Story().started(T2, 's2').started(T1, 's1');
    const a = story.call('main.a', { context: [T1, 's1'] }, [T1, 's1', 'go.context']);
    story.call('main.b', { around: a, context: [T2, 's2'] }, [T2, 's2', 'go.context']);
    story.call('main.c', { around: a, current: [T2, 's2'] }, [T1, 'call1', 'go.sdk']);
    assert.deepEqual(story.kinds(), []);
  });

  test('functions that were not traced are nobody’s parent', () => {
    const story = new Story().started(T1, 's1');
    const a = story.call('main.a', { context: [T1, 's1'] }, [T1, 's1', 'go.context']);
    const other = story.call('main.other', { around: a }, null);
    story.call('main.b', { around: other }, [T1, 'call1', 'go.context']);
    assert.deepEqual(story.kinds(), []);
  });

  test('what began before the tracing was not seen', () => {
    const story = new Story().started(T1, 's1');
    const loop = story.call('main.a', { open: true }, null);
    story.call('main.b', { around: loop, current: [T1, 's1'] }, ['8'.repeat(32), null, 'none']);
    assert.deepEqual(story.kinds({ since: 2_500_000n }), []);
    // Seen, it is around the other call; with no end it has no span to compare with.
    assert.deepEqual(story.kinds(), ['source 2']);
  });

  test('a root has a trace of its own, which its callees share', () => {
    const story = new Story().started(T1, 's1');
    const a = story.call('main.a', {}, [T1, null, 'none']);
    story.call('main.b', { around: a }, [T2, 'call1', 'none']);
    assert.deepEqual(story.kinds(), ['trace 1', 'trace 2']);
  });
});

suite('one call is one span', () => {
  const three = (lost: number): Story => {
    const story = new Story().started(T1, 's1');
    for (let n = 1; n <= 3; n++)
      story.call('main.a', { context: [T1, 's1'] }, n === lost ? null : [T1, 's1', 'go.context']);
    return story;
  };

  test('a lost span is told by time', () => {
    for (const lost of [1, 2, 3]) assert.deepEqual(three(lost).kinds(), [`missing ${lost}`]);
    assert.deepEqual(three(2).kinds({ partial: true }), []);
  });

  test('a span too many, and an id used twice', () => {
    const story = three(0);
    const last = story.spans[2];
    assert.ok(last);
    story.spans.push({ ...last, startTimeUnixNano: last.startTimeUnixNano + 5_000_000n });
    assert.deepEqual(story.kinds(), ['surplus null', 'duplicate null']);
  });

  test('the same function on another goroutine is another series', () => {
    const story = new Story().started(T1, 's1');
    story.call('main.a', { context: [T1, 's1'], goroutine: 1 }, null);
    story.call('main.a', { context: [T1, 's1'], goroutine: 2 }, [T1, 's1', 'go.context']);
    assert.deepEqual(story.kinds(), ['missing 1']);
  });

  test('no span for what is not sampled', () => {
    const story = new Story().started(T1, 's1');
    const seen = { context: [T1, 's1'] as [string, string], sampled: false };
    const a = story.call('main.a', seen, null);
    story.call('main.b', { around: a }, null);
    assert.deepEqual(story.kinds(), []);
    story.call('main.c', seen, [T1, 's1', 'go.context']);
    assert.deepEqual(story.kinds(), ['surplus null']);
  });

  test('a call that was still open needs no span', () => {
    const story = new Story().started(T1, 's1');
    story.call('main.a', { context: [T1, 's1'], open: true }, null);
    story.call('main.b', { context: [T1, 's1'] }, null);
    assert.deepEqual(story.kinds({ until: 3_500_000n }), []);
    assert.deepEqual(story.kinds(), ['missing 2']);
  });

  test('a tree is kept whole', () => {
    const story = new Story().started(T1, 's1');
    const a = story.call('main.a', { context: [T1, 's1'] }, null);
    story.call('main.b', { around: a }, [T1, 'gone', 'go.context']);
    assert.deepEqual(story.kinds({ partial: true }), ['parent 2']);
  });

  test('a generic function goes by its plain name', () => {
    const story = new Story().started(T1, 's1');
    story.call('main.g[go.shape.[]uint8]', { context: [T1, 's1'] }, [T1, 's1', 'go.context']);
    assert.deepEqual(story.kinds(), []);
  });
});
