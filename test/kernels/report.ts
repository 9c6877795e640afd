/** What the test in a machine tells the host, on one line after the marker. */
export const RESULT = 'RESULT ';

export interface Report {
  /** What is worth a reader's eye when all went well. */
  summary: string;
  /** null: passed. */
  failure: string | null;
}
