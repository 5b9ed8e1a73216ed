/**
 * JSON on standard output. `json` is one document, `jsonl` one object a line; both say `schemaVersion`, and
 * both are written as they are made: a tree of a million entries is never held as text.
 */
import type { Context } from './command.ts';
import { SCHEMA_VERSION } from './entry-json.ts';
import { formatJSON } from './quote.ts';

type JSONContext = Pick<Context, 'stdout' | 'settings'>;

/** One document that stands alone: indented for `json`, one line for `jsonl`. */
export async function writeDocument(context: JSONContext, document: object): Promise<void> {
  const indent = context.settings.format === 'json' ? 2 : undefined;
  await context.stdout.write(`${formatJSON({ schemaVersion: SCHEMA_VERSION, ...document }, indent)}\n`);
}

/**
 * A list of objects: `{"schemaVersion": 1, "FIELD": [...]}` with `json`, a line for each with `jsonl`.
 * `end` closes the document; it must be called also where nothing was written.
 */
export class EntryWriter {
  readonly #context: JSONContext;
  readonly #field: string;
  #count = 0;

  constructor(context: JSONContext, field = 'entries') {
    this.#context = context;
    this.#field = field;
  }

  async write(entry: object): Promise<void> {
    const { stdout, settings } = this.#context;
    if (settings.format === 'jsonl') {
      const text = formatJSON(entry);
      const rest = text === '{}' ? '}' : `,${text.slice(1)}`;
      await stdout.write(`{"schemaVersion":${SCHEMA_VERSION}${rest}\n`);
      return;
    }
    await stdout.write(`${this.#count === 0 ? this.#head() : ','}\n    ${formatJSON(entry)}`);
    this.#count += 1;
  }

  async end(): Promise<void> {
    if (this.#context.settings.format === 'jsonl') return;
    const tail = this.#count === 0 ? `${this.#head()}]\n}\n` : '\n  ]\n}\n';
    await this.#context.stdout.write(tail);
  }

  #head(): string {
    return `{\n  "schemaVersion": ${SCHEMA_VERSION},\n  ${JSON.stringify(this.#field)}: [`;
  }
}
