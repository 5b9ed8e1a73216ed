/** A user of peel for the tests of one file, and an image that lies in a layout of theirs. */
import path from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { type LayoutImage, type WrittenImage, writeLayout } from './image-layout.ts';
import { PeelUser } from './run-peel.ts';

export let user: PeelUser;
/** The folder of the layout. */
export let image = '';
export let written: WrittenImage;

export function useImage(content: LayoutImage): void {
  beforeAll(() => {
    user = new PeelUser();
    image = path.join(user.work, 'image');
    written = writeLayout(image, content);
  });
  afterAll(() => {
    user.close();
  });
}
