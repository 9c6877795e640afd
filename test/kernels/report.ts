import type { Features } from '../../src/native/native.js';

/** Marks the line on which the test in a machine tells the host how it went. */
export const RESULT = 'RESULT ';

export interface Report {
  /** null: could not be found out. */
  features: Features | null;
  /** What is worth a reader's eye when all went well. */
  summary: string;
  /** null: passed. */
  failure: string | null;
}
