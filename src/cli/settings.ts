/** The settings that every command shares, merged from flags, environment and configuration file. */
import type { LogLevel } from '../log.ts';

export type Format = 'table' | 'json' | 'jsonl';
export type ProgressStyle = 'auto' | 'plain' | 'none';

export interface Settings {
  /** `os/arch[/variant]`; undefined for this host. */
  readonly platform: string | undefined;
  readonly authfile: string | undefined;
  /** Hosts (with port) to speak plain HTTP to. */
  readonly plainHttp: readonly string[];
  /** PEM file. */
  readonly tlsCa: string | undefined;
  /** Hosts (with port) whose certificate is not checked. */
  readonly tlsSkipVerify: readonly string[];
  readonly cacheDir: string;
  /** Bytes. */
  readonly cacheMaxSize: number;
  /** Share of the file system that the cache leaves free: 0 to 1. */
  readonly cacheMinFree: number;
  readonly offline: boolean;
  readonly format: Format;
  readonly progress: ProgressStyle;
  readonly quiet: boolean;
  readonly logLevel: LogLevel;
  readonly color: 'auto' | 'always' | 'never';
}
