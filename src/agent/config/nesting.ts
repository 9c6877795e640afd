/**
 * YAML's parser goes down a level by a call, and where the stack is full V8 may end the process
 * (it does so while it compiles a regular expression). So depth is bounded before anything is
 * parsed. The lexer does not recurse.
 */
import { Lexer } from 'yaml';

/** Of brackets, or of indentation in columns with the indicators of a line. */
const MAX_DEPTH = 100;
/** Lexemes that are no text of the file: of a document's and a scalar's beginning, of an error. */
const MARKS = ['\u0002', '\u001f', '\u0018'];

/** Offset of the first thing that lies too deep; null if there is none. */
export function tooDeepAt(text: string): number | null {
  let offset = 0;
  let brackets = 0;
  let depth = 0;
  let previous = '\n';
  for (const lexeme of new Lexer().lex(text)) {
    if (MARKS.includes(lexeme)) continue;
    if (/^\r?\n/.test(previous)) depth = /^ +/.exec(lexeme)?.[0].length ?? 0;
    if (lexeme === '[' || lexeme === '{') brackets++;
    else if (lexeme === ']' || lexeme === '}') brackets = Math.max(0, brackets - 1);
    else if (brackets === 0 && /^[-?:]$/.test(lexeme)) depth++;
    if (brackets > MAX_DEPTH || (depth > MAX_DEPTH && !/^[\s#]/.test(lexeme))) return offset;
    offset += lexeme.length;
    previous = lexeme;
  }
  return null;
}
