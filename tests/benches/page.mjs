// What every page of a benchmark does, see browser.mjs: says things, one request after the other so that
// they keep their order, and follows commands.

let said = Promise.resolve()

export function say(message) {
  said = said.then(() => fetch('/say', { method: 'POST', body: JSON.stringify(message) }))
}

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

// Sets a description, and says it once it names all addresses.
export async function describe(peer, description) {
  await peer.setLocalDescription(description)
  while (peer.iceGatheringState !== 'complete') await pause(10)
  const { type, sdp } = peer.localDescription
  say({ type: 'description', kind: type, sdp })
}

// Says that it is ready, and hands over each command.
export function follow(handle) {
  const commands = new EventSource('/commands')
  commands.onopen = () => say({ type: 'ready' })
  commands.onmessage = (event) => {
    handle(JSON.parse(event.data)).catch((error) => say({ type: 'error', text: `${error}` }))
  }
}
