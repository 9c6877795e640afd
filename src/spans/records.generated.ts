// Generated from bpf/records.h by scripts/generate-records.mjs. Do not edit.

export const MAX_OPEN_PANICS = 4;
export const MAX_OPEN_CALLS = 16;
export const MAX_OWN_STACKS = 512;
export const MAX_PROGRAM_SPANS = 8;
export const MAX_SPAN_TYPES = 8;
export const MAX_CONTEXT_HOPS = 100;
export const MAX_SPAN_NAME = 64;
export const MAX_SPAN_ATTRIBUTES = 128;
export const MAX_ATTRIBUTE_NAMES = 4;
export const MAX_ATTRIBUTE_TEXT = 64;
export const NO_SPAN_CONTEXT = 65535;
export const MAX_VALUES = 32;
export const MAX_VALUE_PATH = 6;
export const MAX_VALUE_BYTES = 256;
export const MAX_CALL_BYTES = 2048;
export const MAX_STACK_FRAMES = 32;
export const MAX_ALLOCATION_STACKS = 4096;
export const MAX_ALLOCATION_FRAMES = 32;
export const MAX_TARGET_MODULES = 8;
export const HISTOGRAM_BUCKETS = 128;
export const HISTOGRAM_FIRST_OCTAVE = 6;
export const MAX_WAIT_REASONS = 64;
export const GOVERNED_CHANGES_SHIFT = 8;
export const MAX_HOLD_NAMES = 16;
export const MAX_HOLD_NAME = 24;
export const COOKIE_GENERATION_SHIFT = 32;
export const COOKIE_GENERATION_BITS = 20;
export const HTTP_BUCKETS = 16;
export const HTTP_METHOD_UNKNOWN = 1;
export const HTTP_METHOD_OTHER = 2;

export const SiteKind = {
  ENTRY: 1,
  RETURN: 2,
  COPYSTACK: 3,
  GOEXIT: 4,
  RECOVERY: 5,
  SPAN_START: 6,
  SPAN_STARTED: 7,
  SPAN_END: 8,
  GO_STATEMENT: 9,
  PANIC: 10,
  FATAL: 11,
  HTTP_STATUS: 12,
  SWITCH_STACK: 13,
  CATCH: 14,
  LIBRARIES: 15,
  BOTH: 16,
  LONG_JUMP: 17,
  PARK: 18,
  READY: 19,
  YIELD: 20,
  RUN: 21,
  STOP: 22,
  SWITCH: 23,
  COROUTINE_END: 24,
  GC_STOP: 32,
  GC_START: 33,
  GC_LIVE: 34,
  GC_GOAL: 35,
  GC_END: 36,
  ASSIST: 37,
  ASSIST_END: 38,
  REFILL: 39,
  SAMPLE_RATE: 40,
  SAMPLE: 41,
} as const;

export const SiteFlag = {
  ENTRY_ONLY: 1,
  PLAIN_RETURN: 2,
  CLOSED: 4,
} as const;

export const SiteCondition = {
  ALWAYS: 0,
  ABOVE: 1,
  MAY_REPEAT: 2,
  TAKEN: 16,
} as const;

export const ContextPlace = {
  NOWHERE: 0,
  REGISTERS: 1,
  STACK: 2,
  REQUEST_REGISTER: 3,
  REQUEST_STACK: 4,
  SEARCH: 5,
} as const;

export const ContextSource = {
  NONE: 0,
  GO_CONTEXT: 1,
  GO_SDK: 2,
  UNREADABLE: 3,
  GO_GOROUTINE: 4,
  GO_LABELS: 5,
  THREAD: 6,
} as const;

export const ParentKind = {
  NONE: 0,
  PROGRAM: 1,
  CALL: 2,
} as const;

export const CallEnd = {
  RETURNED: 0,
  PANICKED: 1,
  EXITED: 2,
  UNWOUND: 3,
} as const;

export const LostReason = {
  TOO_SHORT: 0,
  UNSAMPLED: 1,
  SAMPLED_OUT: 2,
  RATE: 3,
  ROOTLESS: 4,
  TOO_DEEP: 5,
  UNREADABLE: 6,
  RING_FULL: 7,
  TABLE_FULL: 8,
  UNPAIRED: 9,
  ENTRY_ONLY: 10,
  GOVERNOR: 11,
  REASONS: 12,
} as const;

export const WaitKind = {
  RUNNABLE: 0,
  THROTTLED: 1,
  MUTEX: 2,
  SEMAPHORE: 3,
  CONDITION: 4,
  CHANNEL_RECEIVE: 5,
  CHANNEL_SEND: 6,
  SELECT: 7,
  NETWORK: 8,
  SLEEP: 9,
  GC_ASSIST: 10,
  FUTEX: 11,
  IO: 12,
  PAGE_FAULT: 13,
  SYSTEM_CALL: 14,
  OTHER: 15,
  KINDS: 16,
} as const;

export const GcPhase = {
  SWEEP_TERMINATION: 1,
  MARK_TERMINATION: 2,
} as const;

export const GcEvent = {
  PAUSE_BEGINS: 1,
  PAUSE_ENDS: 2,
  CYCLE_ENDS: 3,
} as const;

export const Governed = {
  THINNED: 1,
  WITHDRAWN: 2,
  TWICE: 4,
  COUNTED: 8,
  UNWATCHED: 16,
} as const;

export const ValueKind = {
  PLAIN: 1,
  STRING: 2,
  SLICE: 3,
  MAP: 4,
  INTERFACE: 5,
  HIDDEN: 6,
  CSTRING: 7,
  LIBCXX_STRING: 8,
} as const;

export const ValuePlace = {
  REGISTERS: 1,
  STACK: 2,
} as const;

export const ValueState = {
  READ: 0,
  CUT: 1,
  NIL: 2,
  UNREADABLE: 3,
  NO_ROOM: 4,
} as const;

export const SpecialValue = {
  STACK_TRACE: 253,
  PANIC: 254,
  RESULT_ERROR: 255,
} as const;

export const ErrorTextKind = {
  STRING: 1,
  PLAIN: 2,
} as const;

export const ErrorKind = {
  NONE: 0,
  INTERFACE: 1,
  NEGATIVE: 2,
  EQUAL: 3,
  UNEQUAL: 4,
} as const;

export const RecordKind = {
  CALL: 1,
  PROGRAM_SPAN: 2,
  PROCESS: 3,
  TRACER: 4,
  WAITS: 5,
  WAIT: 6,
  GC: 7,
  SPAN_ATTRIBUTE: 8,
} as const;

export const ProcessEvent = {
  FORKED: 1,
  EXECUTED: 2,
  EXITED: 3,
  MAPPED: 4,
} as const;

export const ScheduleEvent = {
  SWITCHED: 0,
  WOKEN: 1,
  EVENTS: 2,
} as const;

export const WaitsKnown = {
  UNKNOWN: 0,
  NONE: 1,
  TOLD: 2,
} as const;

export const Watched = {
  WAITS: 1,
  ALLOCATIONS: 2,
} as const;

export const ThreadContextFormat = {
  NONE: 0,
  OTEL: 1,
  ELASTIC: 2,
} as const;

export const TrampolineVerdict = {
  ASKED: 1,
  ALLOWED: 2,
} as const;

export const ContextWraps = {
  AT: 1,
  NONE: 2,
  UNKNOWN: 3,
} as const;

/** Byte offsets in struct value_plan. */
export const valuePlan = {
  size: 40,
  kind: 0,
  place: 1,
  steps: 2,
  hasMethods: 3,
  at: 4,
  sizeField: 6,
  limit: 8,
  path: 12,
  pathLength: 6,
  lengthAt: 36,
} as const;

/** Byte offsets in struct value_header. */
export const valueHeader = {
  size: 24,
  index: 0,
  state: 1,
  sizeField: 2,
  length: 8,
  type: 16,
} as const;

/** Byte offsets in struct error_text. */
export const errorText = {
  size: 8,
  kind: 0,
  offset: 4,
} as const;

/** Byte offsets in struct function_values. */
export const functionValues = {
  size: 32,
  first: 0,
  arguments: 4,
  results: 5,
  errorPlace: 6,
  stackTrace: 7,
  errorAt: 8,
  httpHandler: 10,
  errorKind: 11,
  errorSize: 12,
  errorInMemory: 13,
  errorPlan: 14,
  errorOffset: 16,
  errorValue: 24,
} as const;

/** Byte offsets in struct record_header. */
export const recordHeader = {
  size: 8,
  kind: 0,
  sizeField: 4,
} as const;

/** Byte offsets in struct file_key. */
export const fileKey = {
  size: 24,
  device: 0,
  inode: 8,
  changedNs: 16,
} as const;

/** Byte offsets in struct hold_name. */
export const holdName = {
  size: 32,
  length: 0,
  prefix: 4,
  prefixLength: 24,
} as const;

/** Byte offsets in struct call_record. */
export const callRecord = {
  size: 120,
  header: 0,
  startNs: 8,
  endNs: 16,
  traceId: 24,
  traceIdLength: 16,
  spanId: 40,
  spanIdLength: 8,
  parentId: 48,
  parentIdLength: 8,
  treeId: 56,
  treeIdLength: 8,
  stack: 64,
  goroutineId: 72,
  childrenNs: 80,
  descendants: 88,
  function: 92,
  tgid: 96,
  tid: 100,
  treeSpans: 104,
  treeLost: 108,
  source: 112,
  end: 113,
  traceFlags: 114,
  depth: 115,
  parentKind: 116,
  failed: 117,
  valuesCount: 118,
  waits: 119,
} as const;

/** Byte offsets in struct waits. */
export const waits = {
  size: 144,
  ns: 0,
  nsLength: 16,
  allocated: 128,
  allocations: 136,
} as const;

/** Byte offsets in struct waits_record. */
export const waitsRecord = {
  size: 160,
  header: 0,
  spanId: 8,
  spanIdLength: 8,
  waits: 16,
} as const;

/** Byte offsets in struct waker. */
export const waker = {
  size: 40,
  goroutineId: 0,
  traceId: 8,
  traceIdLength: 16,
  spanId: 24,
  spanIdLength: 8,
  function: 32,
  tid: 36,
} as const;

/** Byte offsets in struct wait_record. */
export const waitRecord = {
  size: 88,
  header: 0,
  startNs: 8,
  readyNs: 16,
  endNs: 24,
  spanId: 32,
  spanIdLength: 8,
  waker: 40,
  kind: 80,
  readyKind: 84,
} as const;

/** Byte offsets in struct gc_record. */
export const gcRecord = {
  size: 56,
  header: 0,
  startNs: 8,
  endNs: 16,
  cycleNs: 24,
  heapLive: 32,
  heapGoal: 40,
  tgid: 48,
  event: 52,
  phase: 53,
} as const;

/** Byte offsets in struct call_values. */
export const callValues = {
  size: 2552,
  words: 0,
  wordsLength: 9,
  stackPointer: 72,
  bias: 80,
  sizeField: 88,
  count: 92,
  record: 96,
  bytes: 216,
  bytesLength: 2336,
} as const;

/** Byte offsets in struct program_span_record. */
export const programSpanRecord = {
  size: 136,
  header: 0,
  startNs: 8,
  endNs: 16,
  traceId: 24,
  traceIdLength: 16,
  spanId: 40,
  spanIdLength: 8,
  parentId: 48,
  parentIdLength: 8,
  goroutineId: 56,
  tgid: 64,
  nameSize: 68,
  parentRemote: 70,
  status: 71,
  name: 72,
  nameLength: 64,
} as const;

/** Byte offsets in struct span_attribute_record. */
export const spanAttributeRecord = {
  size: 104,
  header: 0,
  spanId: 8,
  spanIdLength: 8,
  number: 16,
  tgid: 24,
  name: 28,
  kind: 32,
  length: 36,
  text: 40,
  textLength: 64,
} as const;

/** Byte offsets in struct tracer_record. */
export const tracerRecord = {
  size: 24,
  header: 0,
  tracer: 8,
  tgid: 16,
} as const;

/** Byte offsets in struct process_record. */
export const processRecord = {
  size: 56,
  header: 0,
  timeNs: 8,
  file: 16,
  event: 40,
  exitCode: 42,
  tgid: 44,
  parentTgid: 48,
  held: 52,
} as const;

/** Byte offsets in struct site. */
export const site = {
  size: 24,
  address: 0,
  function: 8,
  kind: 12,
  condition: 13,
  contextPlace: 14,
  flags: 15,
  contextAt: 16,
  stackAdjustment: 18,
  called: 20,
} as const;

/** Byte offsets in struct allocation_key. */
export const allocationKey = {
  size: 16,
  frames: 0,
  function: 8,
} as const;

/** Byte offsets in struct allocation_stack. */
export const allocationStack = {
  size: 280,
  bytes: 0,
  samples: 8,
  count: 16,
  cut: 20,
  frames: 24,
  framesLength: 32,
} as const;

/** Byte offsets in struct allocation_rest. */
export const allocationRest = {
  size: 16,
  bytes: 0,
  samples: 8,
} as const;

/** Byte offsets in struct http_key. */
export const httpKey = {
  size: 16,
  method: 0,
  function: 8,
  status: 12,
} as const;

/** Byte offsets in struct http_requests. */
export const httpRequests = {
  size: 136,
  sumNs: 0,
  buckets: 8,
  bucketsLength: 16,
} as const;

/** Byte offsets in struct statistics. */
export const statistics = {
  size: 1384,
  calls: 0,
  returns: 8,
  errors: 16,
  spans: 24,
  unpairedReturns: 32,
  contextsUnreadable: 40,
  valuesLost: 48,
  waitsLost: 56,
  watchedCalls: 64,
  contextsTruncated: 72,
  foreign: 80,
  totalNs: 88,
  selfNs: 96,
  maxNs: 104,
  inverseMinNs: 112,
  waitedNs: 120,
  waitedNsLength: 16,
  allocated: 248,
  allocations: 256,
  lost: 264,
  lostLength: 12,
  histogram: 360,
  histogramLength: 128,
} as const;

/** Byte offsets in struct span_type. */
export const spanType = {
  size: 24,
  type: 0,
  contextOffset: 8,
  nameOffset: 10,
  parentOffset: 12,
  tracerOffset: 14,
  remoteOffset: 16,
  statusOffset: 18,
  attributesOffset: 20,
} as const;

/** Byte offsets in struct attribute_name. */
export const attributeName = {
  size: 72,
  text: 0,
  textLength: 64,
  sizeField: 64,
  number: 68,
} as const;

/** Byte offsets in struct settings. */
export const settings = {
  size: 680,
  minDurationNs: 0,
  sampleThreshold: 8,
  treeIntervalNs: 16,
  treeBurstNs: 24,
  seed: 32,
  firstFunction: 40,
  valueItab: 48,
  keyType: 56,
  contextInterface: 64,
  spanTypes: 72,
  spanTypesLength: 8,
  attributeNames: 264,
  attributeNamesLength: 4,
  shardMask: 552,
  goidOffset: 556,
  labelsOffset: 560,
  currentOffset: 564,
  requestContext: 568,
  maxHops: 572,
  attachment: 576,
  returnDistance: 580,
  positionIndependent: 584,
  filterTargets: 585,
  hasCookies: 586,
  perfBuffers: 587,
  roots: 588,
  unsampled: 589,
  entryOnly: 590,
  programSpans: 591,
  labelsAreMap: 592,
  values: 593,
  errorText: 594,
  never: 595,
  findsMappings: 596,
  writesRegisters: 597,
  emulateReturns: 598,
  arguments: 599,
  hasSessions: 600,
  trampolines: 601,
  waits: 602,
  gc: 603,
  allocations: 604,
  keepsWaits: 605,
  allocationStacks: 606,
  minWaitNs: 608,
  waitKinds: 616,
  waitKindsLength: 64,
} as const;

/** Byte offsets in struct stack_key. */
export const stackKey = {
  size: 16,
  stack: 0,
  tgid: 8,
} as const;

/** Byte offsets in struct open_call. */
export const openCall = {
  size: 112,
  startNs: 0,
  offset: 8,
  bias: 16,
  traceId: 24,
  traceIdLength: 16,
  spanId: 40,
  spanIdLength: 8,
  parentId: 48,
  parentIdLength: 8,
  contextId: 56,
  contextIdLength: 8,
  childrenNs: 64,
  descendants: 72,
  function: 76,
  treeSpans: 80,
  treeLost: 84,
  tree: 88,
  source: 89,
  traceFlags: 90,
  dropped: 91,
  parentKind: 92,
  hasValues: 93,
  httpStatus: 94,
  httpMethod: 96,
  changes: 104,
  hasWaits: 108,
  watched: 109,
  lostWaits: 110,
} as const;

/** Byte offsets in struct program_span. */
export const programSpan = {
  size: 48,
  pointer: 0,
  startNs: 8,
  traceId: 16,
  traceIdLength: 16,
  spanId: 32,
  spanIdLength: 8,
  traceFlags: 40,
} as const;

/** Byte offsets in struct inherited. */
export const inherited = {
  size: 40,
  goroutineId: 0,
  traceId: 8,
  traceIdLength: 16,
  spanId: 24,
  spanIdLength: 8,
  traceFlags: 32,
  source: 33,
} as const;

/** Byte offsets in struct open_panic. */
export const openPanic = {
  size: 24,
  offset: 0,
  type: 8,
  data: 16,
} as const;

/** Byte offsets in struct stack. */
export const stack = {
  size: 2648,
  id: 0,
  stackHi: 8,
  depth: 16,
  spanCount: 20,
  spansHidden: 24,
  panicCount: 28,
  low: 32,
  high: 40,
  attachment: 48,
  removals: 52,
  bias: 56,
  wait: 64,
  assistNs: 152,
  assistWaitedNs: 160,
  sampleRate: 168,
  panics: 176,
  panicsLength: 4,
  inherited: 272,
  labels: 312,
  calls: 352,
  callsLength: 16,
  spans: 2144,
  spansLength: 8,
  record: 2528,
} as const;

/** Byte offsets in struct own_stack. */
export const ownStack = {
  size: 2664,
  key: 0,
  tgid: 8,
  taken: 12,
  stack: 16,
} as const;

/** Byte offsets in struct span_key. */
export const spanKey = {
  size: 16,
  pointer: 0,
  tgid: 8,
} as const;

/** Byte offsets in struct started_span. */
export const startedSpan = {
  size: 40,
  startNs: 0,
  stack: 8,
  goroutineId: 16,
  spanId: 24,
  spanIdLength: 8,
  ended: 32,
} as const;

/** Byte offsets in struct thread_context_place. */
export const threadContextPlace = {
  size: 16,
  offset: 0,
  module: 8,
  format: 12,
  entrySize: 13,
} as const;

/** Byte offsets in struct target_module. */
export const targetModule = {
  size: 16,
  bias: 0,
  attachment: 8,
} as const;

/** Byte offsets in struct target. */
export const target = {
  size: 152,
  modules: 0,
  modulesLength: 8,
  threadContext: 128,
  followForks: 144,
  currentOffset: 146,
  gOffset: 148,
} as const;

/** Byte offsets in struct target_facts. */
export const targetFacts = {
  size: 24,
  publishers: 0,
  removals: 4,
  samplesHits: 8,
  watchedSince: 16,
} as const;

/** Byte offsets in struct hit_sample. */
export const hitSample = {
  size: 16,
  timeNs: 0,
  tgid: 8,
  function: 12,
} as const;

/** Byte offsets in struct thread_stack. */
export const threadStack = {
  size: 32,
  low: 0,
  high: 8,
  stack: 16,
  ownEnd: 24,
} as const;

/** Byte offsets in struct context_type. */
export const contextType = {
  size: 8,
  parentOffset: 0,
  wraps: 4,
} as const;

/** Byte offsets in struct process_settings. */
export const processSettings = {
  size: 8,
  shardMask: 0,
  everyExec: 4,
  perfBuffers: 5,
} as const;

/** Byte offsets in struct learned. */
export const learned = {
  size: 8,
  keyType: 0,
} as const;
