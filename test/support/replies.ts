/** Answers of a registry that tests of its client share. */
import type { Reply } from './scripted-server.ts';

export const unauthorized = (challenge: string, body = ''): Reply => ({
  status: 401,
  headers: { 'www-authenticate': challenge },
  body,
});

export const redirect = (location: string): Reply => ({ status: 307, headers: { location } });
