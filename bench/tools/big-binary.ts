/** A Go program of 100 MB and some 120,000 functions, as large servers are, made from generated code. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { goCommand, projectRoot } from '../../test/tools/go.js';

const PACKAGES = 240;
const FUNCTIONS = 500;
/** Of a generated name: pkg007.Step123. Each has a frame and two returns. */
export const BIG_FUNCTIONS = 'big/pkg*.Step*';

const run = promisify(execFile);

export interface BigBinary {
  path: string;
  bytes: number;
}

/** Builds it once; it takes a few minutes. */
export async function bigBinary(): Promise<BigBinary> {
  const folder = join(projectRoot, '.cache/big');
  const path = join(folder, `big-${PACKAGES}-${FUNCTIONS}`);
  if (!existsSync(path)) await build(folder, path);
  return { path, bytes: (await stat(path)).size };
}

async function build(folder: string, path: string): Promise<void> {
  const source = join(folder, 'source');
  await rm(source, { recursive: true, force: true });
  for (let index = 0; index < PACKAGES; index++) {
    const name = packageName(index);
    await mkdir(join(source, name), { recursive: true });
    await writeFile(join(source, name, 'steps.go'), packageSource(name));
  }
  await writeFile(join(source, 'go.mod'), 'module big\n\ngo 1.24\n');
  await writeFile(join(source, 'main.go'), mainSource());
  const env = { ...process.env, GOFLAGS: '-mod=mod', GOTOOLCHAIN: 'local' };
  await run(goCommand(), ['build', '-trimpath', '-o', `${path}.new`, '.'], { cwd: source, env });
  await rename(`${path}.new`, path);
  await rm(source, { recursive: true });
}

const packageName = (index: number): string => `pkg${String(index).padStart(3, '0')}`;

/** Enough code in each that text, tables and DWARF are in the proportions of real programs. */
function packageSource(name: string): string {
  const functions = Array.from(
    { length: FUNCTIONS },
    (_, index) => `
//go:noinline
func Step${index}(in *State, text string) (int, error) {
	if in == nil || len(text) == ${index} {
		return 0, fmt.Errorf("${name} step ${index}: %q", text)
	}
	in.Counts[text] += ${index}
	for at, word := range in.Words {
		if word == text {
			in.Words = append(in.Words[:at], in.Words[at+1:]...)
			break
		}
	}
	return in.Counts[text], nil
}
`,
  );
  return `package ${name}

import "fmt"

type State struct {
	Counts map[string]int
	Words  []string
}
${functions.join('')}
var Steps = []func(*State, string) (int, error){${functions.map((_, index) => `Step${index}`).join(', ')}}
`;
}

/** Steps every CPU's worth of nothing: it prints that it is ready, and then calls a step now and then. */
function mainSource(): string {
  const packages = Array.from({ length: PACKAGES }, (_, index) => packageName(index));
  return `package main

import (
	"fmt"
	"os"
	"time"

${packages.map((name) => `\t"big/${name}"`).join('\n')}
)

func main() {
	fmt.Println("ready")
	_ = os.Stdout.Sync()
	for {
		time.Sleep(time.Second)
${packages
  .map(
    (name) =>
      `\t\tfor _, step := range ${name}.Steps {\n\t\t\tif len(os.Args) > 1 {\n\t\t\t\t_, _ = step(&${name}.State{Counts: map[string]int{}}, os.Args[1])\n\t\t\t}\n\t\t}`,
  )
  .join('\n')}
	}
}
`;
}
