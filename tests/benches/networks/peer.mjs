// One end of a call as a process: `node peer.mjs CLIP.y4m CLIP.wav`, a Chromium whose camera and
// microphone play these files. Commands come as JSON lines on standard input, reports go to standard
// output. Ends with its input.

import { createInterface } from 'node:readline'

import { browse } from '../browser.mjs'

const [picture, sound] = process.argv.slice(2)
const page = new URL('page.html', import.meta.url)
const browser = await browse({ '/': [page, 'text/html'] }, [
  '--use-fake-device-for-media-stream',
  '--use-fake-ui-for-media-stream',
  '--autoplay-policy=no-user-gesture-required',
  `--use-file-for-fake-video-capture=${picture}`,
  `--use-file-for-fake-audio-capture=${sound}`,
])

const lines = createInterface({ input: process.stdin })
lines.on('line', (line) => browser.handle(JSON.parse(line)))
lines.on('close', async () => {
  await browser.leave()
  process.exit(0)
})
